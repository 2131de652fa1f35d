"""The loss that is minimised, from pair losses and their weights."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline import collectives
from pipeline.objectives.base import PairLosses
from pipeline.pairs.uota import UOTA


class PairWeighting:
    """Weighs pairs by an arbiter, if there is one."""

    def __init__(self, *, arbiter: UOTA | None = None) -> None:
        """Keep what weighs.

        Args:
            arbiter: weighs by projections; None: every pair weighs 1.
        """
        self.arbiter = arbiter

    def weights(self, losses: PairLosses, *, global_views: int, epoch: int) -> Tensor:
        """Weights (V, B) without gradient. Every rank calls this, with equal shapes and epoch.

        Args:
            losses: of this rank's samples.
            global_views: how many of the V views there are of that kind; they come first.
            epoch: counted from 0.
        """
        if self.arbiter is None or not self.arbiter.begins(epoch):
            return uniform_weights(losses)
        return self.arbiter.weights(losses.projections, global_views=global_views)


def uniform_weights(losses: PairLosses) -> Tensor:
    """Weight 1 for every pair; (V, B)."""
    return torch.ones_like(losses.loss)


def weighted_total(losses: PairLosses, weights: Tensor) -> Tensor:
    """mean(w * loss) + sum(terms), a scalar.

    Args:
        losses: of this rank's samples.
        weights: (V, B); no gradient flows through them.
    """
    total = (weights.detach() * losses.loss).mean()
    for term in losses.terms.values():
        total = total + term
    return total


def weight_signs(weights: Tensor) -> dict[str, Tensor]:
    """How far an arbiter's weights spread, as scalars. Every rank calls this, with equal shapes.

    Args:
        weights: (V, B) of this rank.

    Returns:
        `arbiter_weight_least` and `arbiter_weight_most` of this rank, and of all ranks
        `arbiter_effective_share`: as how large a share of the views, all weighed alike, they count
        (Kish, Survey Sampling, 1965: (sum w)^2 / (n sum w^2)).
    """
    moments = torch.stack([weights.double().mean(), weights.double().square().mean()])
    mean, mean_square = collectives.all_sum(moments) / collectives.world_size()
    return {
        "arbiter_weight_least": weights.amin(),
        "arbiter_weight_most": weights.amax(),
        "arbiter_effective_share": mean.square() / mean_square,
    }
