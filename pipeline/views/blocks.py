"""Rectangles of patches: their possible sizes, where they lie, and subsets of their patches.

A block is four numbers, as a crop is: top, left, height and width, in patches. Patches of a grid
are counted row by row.
"""

from __future__ import annotations

import numpy as np

from pipeline.randomness import Words, mix, uniform
from pipeline.views.arrays import Bools, Ints

Grid = tuple[int, int]  # rows and columns of patches
Span = tuple[float, float]  # least and largest

_LEVELS = 256  # of a scale and of a ratio, so that the possible sizes of a block can be listed
_PLACE = np.uint64(0xFFFFFFFF)  # the bits of a priority that say whose it is, so none are equal
_LAST = np.uint64(1 << 63)  # the bit of a priority that puts it behind all allowed ones


def level(*words: Words) -> Ints:
    """Which rows or columns of a table of sizes to take, named by the words."""
    return (uniform(*words) * _LEVELS).astype(np.int64)


def size_table(grid: Grid, scale: Span, ratio: Span, *, least: int, largest: Grid) -> Ints:
    """Heights and widths of blocks (256, 256, 2), by the level of the scale and of the ratio.

    Args:
        grid: rows and columns of patches.
        scale: share of the grid's patches.
        ratio: height / width.
        least: bound of the height and the width.
        largest: bounds of the height and of the width.
    """
    middles = (np.arange(_LEVELS) + 0.5) / _LEVELS
    patches = np.floor(grid[0] * grid[1] * (scale[0] + (scale[1] - scale[0]) * middles))[:, None]
    ratios = ratio[0] + (ratio[1] - ratio[0]) * middles
    sides = np.stack([np.sqrt(patches * ratios), np.sqrt(patches / ratios)], axis=-1)
    return np.clip(np.rint(sides), least, largest).astype(np.int64)


def place(sizes: Ints, grid: Grid, *words: Words, beyond: int) -> Ints:
    """Blocks (..., 4) of the sizes (..., 2), anywhere on the grid.

    Args:
        sizes: heights and widths.
        grid: rows and columns of patches.
        words: what names the draws; they broadcast to (...).
        beyond: 1; or 0 to leave out the last position along either side.
    """
    rooms = np.asarray(grid) - sizes + beyond
    draws = np.stack([uniform(*words, "top"), uniform(*words, "left")], axis=-1)
    return np.concatenate([(draws * rooms).astype(np.int64), sizes], axis=-1)


def covered(blocks: Ints, grid: Grid) -> Bools:
    """Patches (B, H, W) that lie in any of the blocks (B, N, 4)."""
    top, left, height, width = np.moveaxis(blocks[..., None], -2, 0)
    rows, columns = np.arange(grid[0]), np.arange(grid[1])
    in_rows = (top <= rows) & (rows < top + height)
    in_columns = (left <= columns) & (columns < left + width)
    return in_rows.swapaxes(1, 2) @ in_columns  # of booleans: whether any block has both


def patches_of(blocks: Ints, kept: Ints, grid: Grid) -> Ints:
    """Indices (..., K) of the patches that are numbered within their blocks (..., 4) by kept."""
    top, left, _, width = np.moveaxis(blocks[..., None], -2, 0)
    return (top + kept // width) * grid[1] + left + kept % width


def random_subset(allowed: Bools, count: int, *words: Words) -> Ints:
    """The places (..., count), ascending, of as many allowed entries along the last axis.

    Args:
        allowed: (..., N), of which each row allows at least count entries.
        count: how many to choose.
        words: what names the draws; they broadcast to (..., 1).
    """
    places = np.arange(allowed.shape[-1], dtype=np.uint64)
    priorities = (mix(*words, places) >> np.uint64(1) & ~_PLACE) | places
    priorities = np.where(allowed, priorities, priorities | _LAST)
    chosen = np.partition(priorities, count - 1, axis=-1)[..., :count] & _PLACE
    return np.sort(chosen.astype(np.int64), axis=-1)


def first_subset(allowed: Bools, count: int) -> Ints:
    """The places (..., count) of the first count allowed entries along the last axis."""
    size = allowed.shape[-1]
    return np.sort(np.where(allowed, np.arange(size), size), axis=-1)[..., :count]
