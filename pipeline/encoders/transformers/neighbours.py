"""Patches around a patch, and those of them that resemble it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.encoders.configs.neighbours import Window
from pipeline.encoders.transformers.patches import take_tokens


def window_of(grid: tuple[int, int], window: Window) -> tuple[Tensor, Tensor]:
    """The eight patches around each patch.

    Args:
        grid: patches along the height and the width.
        window: toroidal: those of an edge continue at the opposite one; clamped: none there.

    Returns:
        (n, 8) int64 indices, and (n, 8) bool, whether there is such a patch.
    """
    rows, columns = grid
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    steps = [
        (down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)
    ]
    down, right = torch.tensor(steps).T
    row, column = row.reshape(-1, 1) + down, column.reshape(-1, 1) + right
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    index = row % rows * columns + column % columns
    return index, inside if window == "clamped" else torch.ones_like(inside)


def most_similar(
    tokens: Tensor, index: Tensor, exists: Tensor, *, count: int
) -> tuple[Tensor, Tensor]:
    """Of the patches around each patch, those with the largest cosine to it.

    Args:
        tokens: (B, n, D).
        index: (n, 8) int64.
        exists: (n, 8) bool.
        count: k; fewer exist around some patches.

    Returns:
        (B, n, k) int64 patches, and (B, n, k) bool, whether they exist.
    """
    unit = F.normalize(tokens, dim=-1)
    around = index.expand(len(tokens), -1, -1)
    # No product of matrices, which autocast would take in half precision.
    cosines = (take_tokens(unit, around) * unit[:, :, None]).sum(dim=-1)
    best = cosines.masked_fill(~exists, -torch.inf).topk(count, dim=-1).indices
    return around.gather(2, best), exists.expand_as(around).gather(2, best)
