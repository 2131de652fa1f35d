"""Which views are compared: each with the global ones other than itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

GLOBAL_VIEWS = 2
"""How many views are whole; local ones, if there are, come after them."""


def mean_over_partners(pair_loss: Callable[[int, int], Tensor], *, views: int) -> Tensor:
    """(V, B): what a view's pairs with its partners cost on average.

    Args:
        pair_loss: of a view and a global view, (B,); asked for partners only.
        views: V.
    """
    losses = [
        [pair_loss(view, partner) for partner in range(GLOBAL_VIEWS) if partner != view]
        for view in range(views)
    ]
    return torch.stack([torch.stack(of_view).mean(dim=0) for of_view in losses])


def of_partners(pairs: Tensor) -> Tensor:
    """What is known of all views and all global views (V, G, ...), for partners alone: (P, ...)."""
    views, count = pairs.shape[:2]
    return torch.stack([pairs[v, g] for v in range(views) for g in range(count) if g != v])


def mean_of_pairs(pairs_VGB: Tensor) -> Tensor:
    """The same for losses of all views with all global views, of which some do not count."""
    return mean_over_partners(lambda view, partner: pairs_VGB[view, partner], views=len(pairs_VGB))
