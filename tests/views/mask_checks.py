"""Masks as tests draw them, and what every mask is."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np

from pipeline.views.arrays import Bools, Ints
from pipeline.views.masks import MultiBlockConfig, PatchMasks, draw_masks

CORRECTED = MultiBlockConfig()
OFFICIAL = MultiBlockConfig(mode="official")
Grid = tuple[int, int]


def masks(
    config: MultiBlockConfig,
    *,
    grid: Grid = (14, 14),
    ids: Any = 128,
    seed: int = 0,
    epoch: int = 0,
    step: int = 0,
    **more: Any,
) -> PatchMasks:
    ids = np.arange(ids) if isinstance(ids, int) else np.asarray(ids, dtype=np.int64)
    return draw_masks(config, grid=grid, seed=seed, epoch=epoch, step=step, sample_ids=ids, **more)


def steps(config: MultiBlockConfig, *, grid: Grid, batch: int, count: int) -> list[PatchMasks]:
    """Masks of successive batches of an epoch."""
    return [
        masks(config, grid=grid, ids=np.arange(batch) + batch * step, step=step)
        for step in range(count)
    ]


def seen(indices: Ints, grid: Grid) -> Bools:
    """Whether each patch is listed: (..., K) to (..., H, W)."""
    flat = np.zeros((*indices.shape[:-1], grid[0] * grid[1]), dtype=np.bool_)
    np.put_along_axis(flat, indices, True, axis=-1)
    return flat.reshape(*indices.shape[:-1], *grid)


def counted(drawn: PatchMasks) -> Bools:
    """Whether each place of the target blocks counts, (B, V, Kp)."""
    return np.arange(drawn.targets.shape[2]) < drawn.sizes[..., None]


def rectangles(drawn: PatchMasks, grid: Grid) -> Ints:
    """Top, left, height and width (B, V, 4) of the target blocks, all of which must be whole."""
    count, places = counted(drawn), np.arange(drawn.targets.shape[2])
    rows, columns = drawn.targets // grid[1], drawn.targets % grid[1]
    top, left = rows[..., :1], columns[..., :1]
    height = np.where(count, rows - top, 0).max(axis=-1, keepdims=True) + 1
    width = np.where(count, columns - left, 0).max(axis=-1, keepdims=True) + 1
    assert (height * width == drawn.sizes[..., None]).all()
    assert (left + width).max(initial=0) <= grid[1]
    raster = (top + places // width) * grid[1] + left + places % width
    assert (drawn.targets == raster)[count].all()
    return np.concatenate([top, left, height, width], axis=-1)


def assert_equal(left: PatchMasks, right: PatchMasks) -> None:
    for one, other in zip(astuple(left), astuple(right), strict=True):
        np.testing.assert_array_equal(one, other)


def assert_valid(drawn: PatchMasks, config: MultiBlockConfig, grid: Grid, batch: int) -> None:
    """What holds of masks in either mode."""
    patches = grid[0] * grid[1]
    context, targets, sizes = drawn.context, drawn.targets, drawn.sizes
    assert context.dtype == targets.dtype == sizes.dtype == np.int64
    assert context.shape[0] == batch
    assert targets.shape[:2] == sizes.shape == (batch, config.targets)
    assert context.shape[1] >= config.min_keep
    for indices in (context, targets):
        assert indices.min() >= 0
        assert indices.max() < patches
    assert (np.diff(context, axis=-1) > 0).all()
    assert sizes.min() > 0
    assert sizes.max() <= targets.shape[2]
    rectangles(drawn, grid)
    assert (targets == targets[..., :1])[~counted(drawn)].all()
    if config.mode == "official":
        assert (sizes == targets.shape[2]).all()
