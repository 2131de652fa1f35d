"""How weights that should be the same differ: in bits, in size, and in the way they came."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class WeightsDifference:
    """Of two sets of tensors; infinite where one lacks a tensor or has another shape of it."""

    tensors: int
    """Of both."""
    differing: list[str]
    """Names, in order, of those that are not the same in every bit."""
    max_absolute: float
    """Largest difference of two numbers."""
    max_relative: float
    """Largest difference of two numbers, by the larger one of them."""
    max_share: float
    """Largest share that a tensor's difference is of the way it came; see `weights_difference`."""


def weights_difference(
    found: Weights, expected: Weights, *, began: Callable[[], Weights]
) -> WeightsDifference:
    """Compare tensors bit by bit, and those that differ by numbers.

    The share is ||found - expected|| / ||found - began||: 0 for the same weights, about 1 or more
    for weights that came another way. Rounding is small beside the way, whatever the learning rate.

    Args:
        found: on the CPU.
        expected: what they should be.
        began: gives what they were before; asked only if something differs.
    """
    names = sorted(found.keys() | expected.keys())
    differing = [name for name in names if not _same_bits(found.get(name), expected.get(name))]
    before = began() if differing else {}
    absolute = relative = share = 0.0
    for name in differing:
        one, other, start = found.get(name), expected.get(name), before.get(name)
        if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
            absolute = relative = share = math.inf
            continue
        a, b = one.double(), other.double()
        apart = (a - b).abs()
        absolute = _larger(absolute, apart.max())
        relative = _larger(relative, (apart / torch.maximum(a.abs(), b.abs())).nan_to_num(0).max())
        way = (a - start.double()).norm() if start is not None else torch.zeros(())
        share = _larger(share, (a - b).norm() / way)
    return WeightsDifference(
        tensors=len(names),
        differing=differing,
        max_absolute=absolute,
        max_relative=relative,
        max_share=share,
    )


def _same_bits(one: Tensor | None, other: Tensor | None) -> bool:
    """Of numbers, -0 is not 0 here, and nan is the same nan."""
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    left, right = (t.contiguous().view(-1).view(torch.uint8) for t in (one, other))
    return torch.equal(left, right)


def _larger(known: float, value: Tensor) -> float:
    """The larger one; what is not a number is larger than all."""
    return max(known, float(value.nan_to_num(math.inf, posinf=math.inf)))
