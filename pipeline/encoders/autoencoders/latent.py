"""The stochastic head: features to a normal distribution of codes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Posterior(NamedTuple):
    """q(z | x) = N(mean, diag(exp(log_scale)^2)); float32 at least."""

    mean: Tensor  # (..., D)
    log_scale: Tensor  # (..., D)

    def sample(self, noise: Tensor) -> Tensor:
        """Codes (..., D) by standard normal noise of the same shape, with gradient."""
        return self.mean + self.log_scale.exp() * noise

    def log_density(self, codes: Tensor) -> Tensor:
        """Of log q(z | x), summed over dimensions, (...) in nats."""
        return log_normal(codes, self.mean, self.log_scale)


def log_normal(values: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log-density of a diagonal normal distribution, (..., D) to (...), summed over dimensions."""
    standard = (values - mean) * torch.exp(-log_scale)
    terms = math.log(2 * math.pi) + 2 * log_scale + standard.square()
    return -0.5 * terms.sum(dim=-1)


def log_standard_normal(values: Tensor) -> Tensor:
    """The same of the anchor P(z) = N(0, I)."""
    return -0.5 * (math.log(2 * math.pi) + values.square()).sum(dim=-1)


class LatentHead(nn.Module):
    """Mean and log-scale of a code as one linear function of features.

    The floor of the log-scale is part of the method: -log q(z | x) falls without end as the scale
    goes to 0.
    """

    def __init__(self, *, feature_width: int, width: int, log_scale_least: float) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(feature_width, 2 * width)
        self.log_scale_least = log_scale_least

    def forward(self, features: Tensor) -> Posterior:
        """The distribution of codes for features (..., F)."""
        parameters = unrounded(self.linear, features)
        if parameters.dtype in (torch.float16, torch.bfloat16):
            parameters = parameters.float()
        mean, log_scale = parameters.chunk(2, dim=-1)
        return Posterior(mean, log_scale.clamp(min=self.log_scale_least))


def unrounded(layer: nn.Linear | nn.Conv2d, values: Tensor) -> Tensor:
    """A layer in the precision of its weights, autocast or not.

    Near the floor of its scale a code's noise is smaller than the steps of bfloat16, and so is what
    a likelihood of a small scale tells apart.
    """
    with torch.autocast(values.device.type, enabled=False):
        found: Tensor = layer(values.to(layer.weight.dtype))
    return found
