"""How likely a decoder's output makes a sample.

Likelihoods are sections of the recipe, so torch is imported where they compute.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import Field

from pipeline.section import Section

if TYPE_CHECKING:
    from torch import Tensor

Reduction = Annotated[
    Literal["sum", "mean"],
    Field(description="over a sample's values; the mean makes all else weigh more"),
]


class Likelihood(Protocol):
    """p(x | z), given what a decoder makes of z."""

    def negative_log(self, output: Tensor, target: Tensor) -> Tensor:
        """What is minimised for outputs and samples (B, ...): (B,), at least float32."""

    def nats(self, output: Tensor, target: Tensor) -> Tensor:
        """-log p(x | z), summed over a sample's values, of the same: (B,), at least float32."""

    def mean(self, output: Tensor) -> Tensor:
        """The expected samples."""

    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        """Samples by uniform numbers of the output's shape."""

    @property
    def differentiable(self) -> bool:
        """Whether gradients pass through a sample."""


class _Independent(Section):
    """Values that are independent of each other given the code; subclasses say of what density."""

    reduction: Reduction = "sum"

    def negative_log(self, output: Tensor, target: Tensor) -> Tensor:
        """-log p(x | z), or its mean over a sample's values.

        Args:
            output: (B, ...) of the decoder.
            target: (B, ...) of the same shape.

        Returns:
            (B,) float32 at least.
        """
        if self.reduction == "sum":
            return self.nats(output, target)
        return self._of_values(*_matched(output, target)).flatten(1).mean(dim=1)

    def nats(self, output: Tensor, target: Tensor) -> Tensor:
        """-log p(x | z) whatever the reduction; arguments and result as of `negative_log`."""
        return self._of_values(*_matched(output, target)).flatten(1).sum(dim=1)

    def _of_values(self, output: Tensor, target: Tensor) -> Tensor:
        """-log p of each value (B, ...)."""
        raise NotImplementedError


class Bernoulli(_Independent):
    """Values in [0, 1] as probabilities of being 1, the output as their logits."""

    kind: Literal["bernoulli"] = "bernoulli"

    def _of_values(self, output: Tensor, target: Tensor) -> Tensor:
        from torch.nn import functional as F

        return F.binary_cross_entropy_with_logits(output, target, reduction="none")

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


class Gaussian(_Independent):
    """Values around the output, which is their mean, with one deviation, which is given."""

    kind: Literal["gaussian"]
    scale: Annotated[float, Field(gt=0, description="deviation; pixels are from 0 to 1")] = 0.1

    def _of_values(self, output: Tensor, target: Tensor) -> Tensor:
        constant = math.log(self.scale) + 0.5 * math.log(2 * math.pi)
        return 0.5 * ((target - output) / self.scale).square() + constant

    def mean(self, output: Tensor) -> Tensor:
        """The expected sample."""
        return output

    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        """A sample with gradient, by uniform numbers of the same shape."""
        import torch

        return output + self.scale * torch.special.ndtri(uniform).to(output.dtype)

    @property
    def differentiable(self) -> bool:
        """Whether gradients pass through a sample."""
        return True


ImageLikelihood = Annotated[Bernoulli | Gaussian, Field(discriminator="kind")]
"""What a recipe may name."""


def _matched(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both of one type, float32 at least: log-densities are sums of thousands of values."""
    import torch

    output = output if output.dtype == torch.float64 else output.float()
    if output.shape != target.shape:
        raise ValueError(f"output {tuple(output.shape)} for samples {tuple(target.shape)}")
    return output, target.to(output.dtype)
