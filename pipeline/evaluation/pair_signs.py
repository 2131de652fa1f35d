"""How a step's projections lie towards each other: what journals say of every objective."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives

_MOST_SAMPLES = 1024  # of the global batch: similarities are the square of it
_UNIFORMITY_SCALE = 2.0


@torch.no_grad()
def pair_signs(
    projections_VBD: Tensor, *, negative_weights: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Agreement of pairs and weight of negatives in the global batch. Every rank calls this.

    Args:
        projections_VBD: of this rank's samples, any floating dtype; the first two views count.
        negative_weights: from cosines (N, N - 1) of anchors with negatives to the negatives'
            weights, up to a factor for each anchor.

    Returns:
        Scalars in float32, equal on all ranks, of at most the first 1024 samples:

        - `alignment`: mean squared distance of a sample's two views on the unit sphere, 0 to 4;
        - `uniformity`: -log E exp(-2 d^2) over the first views of distinct samples, 0 to 4 where
          there are many (Wang & Isola, 2020; larger is more uniform);
        - `negative_entropy`: mean entropy of an anchor's weights over its negatives, as a share of
          the largest there is: 1 if all weigh the same, 0 if one has all the weight (the lower the
          temperature the lower, Wang & Liu, 2021);
        - `false_negatives`: share of negatives that are at least as similar to the anchor as its
          own other view is, and so may be of the same sort.
    """
    first, second = (
        F.normalize(collectives.gather(local.float())[:_MOST_SAMPLES], dim=1)
        for local in projections_VBD[:2]
    )
    count = len(first)
    similar = first @ second.T
    negatives = _off_diagonal(similar)
    shares = F.normalize(negative_weights(negatives), p=1, dim=1)
    entropy = torch.special.entr(shares).sum(dim=1).mean() / (math.log(count - 1) or 1.0)
    distances = 2 - 2 * _off_diagonal(first @ first.T)
    return {
        "alignment": (first - second).square().sum(dim=1).mean(),
        "uniformity": -(-_UNIFORMITY_SCALE * distances).exp().mean().log(),
        "negative_entropy": entropy,
        "false_negatives": (negatives >= similar.diagonal()[:, None]).float().mean(),
    }


def _off_diagonal(square: Tensor) -> Tensor:
    """(N, N - 1): a matrix's rows without their diagonal entries."""
    count = len(square)
    return square.flatten()[1:].view(count - 1, count + 1)[:, :-1].reshape(count, count - 1)
