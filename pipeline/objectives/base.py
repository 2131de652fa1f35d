"""The contract between objectives, pair weighting and the learner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class PairLosses:
    """What an objective says about a batch of B samples of this rank.

    The total is mean(w * loss) + sum(terms), with weights w (V, B) that carry no gradient.
    """

    loss: Tensor  # (V, B) for each predicting view and sample
    evidence: Tensor  # (B,) what a miner looks at
    projections: Tensor  # (V, B, D) what an arbiter looks at
    terms: dict[str, Tensor] = field(default_factory=dict)  # scalars no pair owns, weighted already
    logs: dict[str, Tensor] = field(default_factory=dict)  # scalars to record


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an objective allows; `plan` refuses what it forbids."""

    views: int  # distinct global views it needs, at least
    local_views: bool = False  # whether it also takes local views
    mining: Literal["per_sample", "none"]
    arbitration: Literal["per_view", "per_sample", "none"]


class Objective(nn.Module):
    """An objective with its heads; subclasses state capabilities and implement both methods."""

    capabilities: Capabilities
    feature_width: int  # D of the encoder it was built for

    def forward(self, features: Tensor) -> PairLosses:
        """Score a batch.

        Args:
            features: (V, B, D) the encoder's output for every view of this rank's samples, the
                local views after the global ones. Every rank calls this with equal shapes.
        """
        raise NotImplementedError

    def project(self, features: Tensor) -> Tensor:
        """The head's output for features (B, D): (B, P), before any normalisation."""
        raise NotImplementedError


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision as float32: similarities, densities and covariances need it."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def without_autocast(values: Tensor) -> torch.autocast:
    """Within it products are of the precision of their factors, on the device of `values`."""
    return torch.autocast(values.device.type, enabled=False)
