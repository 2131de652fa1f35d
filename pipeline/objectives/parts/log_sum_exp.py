"""The logsumexp of many products, of which only a block is ever held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.objectives.base import without_autocast

_BLOCK = 2**22  # products held at a time


def log_sum_exp(
    anchors_MD: Tensor,
    keys_ND: Tensor,
    *,
    own_MG: Tensor | None = None,
    hardest: int | None = None,
) -> Tensor:
    """Of each anchor's products with all keys; memory is linear in M and N.

    The backward pass computes the products anew if keys need a gradient. What anchors need is a
    mean of the keys, and made on the way forward.

    Args:
        anchors_MD: float32 or float64.
        keys_ND: of the same type.
        own_MG: indices of keys that do not count for an anchor.
        hardest: how many of an anchor's largest products count, besides those that equal the last
            of them; None: all.

    Returns:
        (M,); -inf where no key counts.
    """
    found: Tensor = _LogSumExp.apply(anchors_MD, keys_ND, own_MG, hardest)
    return found


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        anchors_MD: Tensor,
        keys_ND: Tensor,
        own_MG: Tensor | None,
        hardest: int | None,
    ) -> Tensor:
        pulled, repeated = ctx.needs_input_grad[:2]
        sums_M1 = anchors_MD.new_empty(len(anchors_MD), 1)
        bounds_M1 = None if hardest is None else torch.empty_like(sums_M1)
        means_MD = torch.empty_like(anchors_MD) if pulled else None
        with without_autocast(anchors_MD):
            for rows, products in _blocks(anchors_MD, keys_ND, own_MG):
                if hardest is not None and bounds_M1 is not None:
                    largest = products.topk(hardest, dim=1, sorted=False).values
                    bounds_M1[rows] = largest.amin(dim=1, keepdim=True)
                    products.masked_fill_(products < bounds_M1[rows], float("-inf"))
                # Finite even where no key counts, so that all shares are 0 there.
                most = _finite(products.amax(dim=1, keepdim=True))
                shares = products.sub_(most).exp_()
                total = shares.sum(dim=1, keepdim=True)
                sums_M1[rows] = total.log() + most
                if means_MD is not None:
                    torch.mm(shares, keys_ND, out=means_MD[rows])
                    means_MD[rows] /= total.clamp_min(1)  # at least 1 where a key counts
        again = (anchors_MD, keys_ND, own_MG, bounds_M1, sums_M1) if repeated else (None,) * 5
        ctx.save_for_backward(means_MD, *again)
        return sums_M1.squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_M: Tensor) -> tuple[Tensor | None, ...]:
        means_MD, anchors_MD, keys_ND, own_MG, bounds_M1, sums_M1 = ctx.saved_tensors
        grad_M1 = grad_M.unsqueeze(1)
        of_anchors = None if means_MD is None else means_MD * grad_M1
        if anchors_MD is None:
            return of_anchors, None, None, None
        of_keys = torch.zeros_like(keys_ND)
        with without_autocast(anchors_MD):
            for rows, products in _blocks(anchors_MD, keys_ND, own_MG):
                if bounds_M1 is not None:
                    products.masked_fill_(products < bounds_M1[rows], float("-inf"))
                shares = products.sub_(_finite(sums_M1[rows])).exp_()
                of_keys.addmm_(shares.T, anchors_MD[rows] * grad_M1[rows])
        return of_anchors, of_keys, None, None


def _blocks(
    anchors_MD: Tensor, keys_ND: Tensor, own_MG: Tensor | None
) -> Iterator[tuple[slice, Tensor]]:
    """Products of some anchors at a time, in memory that the next ones take; -inf for own keys."""
    total = len(keys_ND)
    step = min(max(1, _BLOCK // total), len(anchors_MD))
    memory = anchors_MD.new_empty(step, total)
    for start in range(0, len(anchors_MD), step):
        rows = slice(start, min(start + step, len(anchors_MD)))
        products = memory[: rows.stop - start]
        torch.mm(anchors_MD[rows], keys_ND.T, out=products)
        if own_MG is not None:
            products.scatter_(1, own_MG[rows], float("-inf"))
        yield rows, products


def _finite(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).min)
