"""How likely a decoder's output makes a sample."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from pipeline.section import Section

Reduction = Annotated[
    Literal["sum", "mean"],
    Field(description="over a sample's values; the mean makes all else weigh more"),
]


class Likelihood(Protocol):
    """p(x | z), given what a decoder makes of z."""

    def negative_log(self, output: Tensor, target: Tensor) -> Tensor:
        """-log p(x | z) of outputs and samples (B, ...): (B,) in nats, at least float32."""

    def mean(self, output: Tensor) -> Tensor:
        """The expected samples."""

    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        """Samples by uniform numbers of the output's shape."""

    @property
    def differentiable(self) -> bool:
        """Whether gradients pass through a sample."""


class Bernoulli(Section):
    """Values in [0, 1] as probabilities of being 1, the output as their logits."""

    kind: Literal["bernoulli"] = "bernoulli"
    reduction: Reduction = "sum"

    def negative_log(self, output: Tensor, target: Tensor) -> Tensor:
        """-log p(x | z).

        Args:
            output: (B, ...) logits.
            target: (B, ...) of the same shape, in [0, 1].

        Returns:
            (B,) in nats, float32 at least.
        """
        logits, target = _matched(output, target)
        values = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return _reduced(values, self.reduction)

    def mean(self, output: Tensor) -> Tensor:
        """The expected sample."""
        return output.sigmoid()

    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        """A sample of zeros and ones, without gradient, by uniform numbers of the same shape."""
        return (uniform < output.detach().sigmoid()).to(output.dtype)

    @property
    def differentiable(self) -> bool:
        """Whether gradients pass through a sample."""
        return False


class Gaussian(Section):
    """Values around the output with one deviation, which is given."""

    kind: Literal["gaussian"]
    scale: Annotated[float, Field(gt=0, description="deviation; pixels are from 0 to 1")] = 0.1
    reduction: Reduction = "sum"

    def negative_log(self, output: Tensor, target: Tensor) -> Tensor:
        """-log p(x | z); arguments as for `Bernoulli`, the output being the mean."""
        mean, target = _matched(output, target)
        constant = math.log(self.scale) + 0.5 * math.log(2 * math.pi)
        return _reduced(0.5 * ((target - mean) / self.scale).square() + constant, self.reduction)

    def mean(self, output: Tensor) -> Tensor:
        """The expected sample."""
        return output

    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        """A sample with gradient, by uniform numbers of the same shape."""
        return output + self.scale * torch.special.ndtri(uniform).to(output.dtype)

    @property
    def differentiable(self) -> bool:
        """Whether gradients pass through a sample."""
        return True


ImageLikelihood = Annotated[Bernoulli | Gaussian, Field(discriminator="kind")]
"""What a recipe may name."""


def _matched(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both of one type, float32 at least: log-densities are sums of thousands of values."""
    output = output if output.dtype == torch.float64 else output.float()
    if output.shape != target.shape:
        raise ValueError(f"output {tuple(output.shape)} for samples {tuple(target.shape)}")
    return output, target.to(output.dtype)


def _reduced(values: Tensor, reduction: str) -> Tensor:
    flat = values.flatten(1)
    return flat.sum(dim=1) if reduction == "sum" else flat.mean(dim=1)
