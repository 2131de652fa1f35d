"""The loss that is minimised, from pair losses and their weights."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.objectives.base import PairLosses


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
