"""Which patches a masked encoder sees and which it predicts: the multi-block masks of I-JEPA.

A sample has one context block and several target blocks (Assran et al., CVPR 2023); its context is
the context block without the patches of any target. Every draw is a hash of what it is for, and
nothing here needs torch, so that masks may be drawn wherever samples are read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from pipeline.section import Section
from pipeline.views.arrays import Ints
from pipeline.views.blocks import (
    Grid,
    covered,
    first_subset,
    level,
    patches_of,
    place,
    random_subset,
    size_table,
)

Block = Literal["target", "context"]
Run = tuple[int, int, int | Ints]  # seed, epoch, step
Range = tuple[float, float]
Shortest = Callable[[int, int], tuple[int, int]]

_POPULATION = 4096  # samples whose contexts tell how long contexts are
_SHORT = 128  # one context of so many may be too short: a batch of this size would be cut to it
_TRIES = 20


class MultiBlockConfig(Section):
    """Masks of I-JEPA; scales and ratios are the paper's."""

    kind: Literal["multiblock"] = "multiblock"
    mode: Annotated[
        Literal["corrected", "official"],
        Field(
            description="corrected: each block has a size of its own and any position, targets "
            "stay whole, and of a context a random subset is kept; official: as the public code "
            "does, which sizes all blocks of a step alike, never reaches the last row and column "
            "and keeps the top rows of a context"
        ),
    ] = "corrected"
    targets: Annotated[int, Field(ge=1, le=16, description="target blocks of each sample")] = 4
    target_scale: Annotated[
        Range, Field(description="least and largest share of the patches in a target block")
    ] = (0.15, 0.2)
    target_ratio: Annotated[
        Range, Field(description="least and largest height / width of a target block")
    ] = (0.75, 1.5)
    context_scale: Annotated[
        Range, Field(description="least and largest share of the patches in the context block")
    ] = (0.85, 1.0)
    min_keep: Annotated[
        int,
        Field(
            ge=1,
            description="corrected: fewest patches of a context; official: contexts and targets "
            "have more than this. The public code's own default, which serves grids from 8 x 8; "
            "its recipes for 14 x 14 say 10, which changes nothing there",
        ),
    ] = 4

    @model_validator(mode="after")
    def _ranges_make_sense(self) -> MultiBlockConfig:
        wrong = []
        for name in ("target_scale", "context_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                wrong.append(f"{name} must be 0 < low <= high <= 1, got {[low, high]}")
        low, high = self.target_ratio
        if not 0 < low <= high:
            wrong.append(f"target_ratio must be 0 < low <= high, got {[low, high]}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


@dataclass(frozen=True, kw_only=True)
class PatchMasks:
    """Indices of the patches of B samples, counted row by row of the grid.

    Blocks of fewer than Kp patches are padded, so that the shape depends on none of them. Padding
    repeats the block's first patch, so that it indexes something, and is to influence nothing.
    """

    context: Ints  # (B, Kc) patches that the context encoder sees, ascending
    targets: Ints  # (B, V, Kp) patches of each target block, ascending, and then its padding
    sizes: Ints  # (B, V) patches of each block that count: as many of its first ones

    def blocks(self, row: int) -> list[Ints]:
        """The patches of each target block of a sample, without padding."""
        return [
            patches[:size] for patches, size in zip(self.targets[row], self.sizes[row], strict=True)
        ]


def draw_masks(
    config: MultiBlockConfig,
    *,
    grid: Grid,
    seed: int,
    epoch: int,
    step: int,
    sample_ids: Ints,
    shortest: Shortest = lambda context, targets: (context, targets),
) -> PatchMasks:
    """Draw the masks of B samples.

    Args:
        config: the masks.
        grid: rows and columns of patches.
        seed: the run's seed.
        epoch: counted from 0.
        step: counted from 0 over all epochs; sizes of official blocks depend on it.
        sample_ids: (B,) int64.
        shortest: given the smallest Kc and Kp of these samples, returns those of the global batch,
            to which official masks are cut; called in official mode alone.

    Returns:
        Masks that in corrected mode depend on nothing but config, grid, seed, epoch and the
        sample's id; Kc and Kp, the most patches that a block can have, are then constants of config
        and grid. Official blocks have no padding.

    Raises:
        ValueError: the settings do not work on this grid, see `problems`.
    """
    if wrong := problems(config, grid=grid):
        raise ValueError("; ".join(wrong))
    run = (seed, epoch, step)
    if config.mode == "official":
        return _official(config, grid, run, sample_ids, shortest)
    return _corrected(config, grid, run, sample_ids)


def problems(config: MultiBlockConfig, *, grid: Grid) -> list[str]:
    """Why the settings do not work on a grid of patches, with numbers; empty if they do."""
    if min(grid) < 1:
        return [f"a grid must have at least 1 x 1 patches, got {grid[0]} x {grid[1]}"]
    return list(_problems(config, grid))


@lru_cache(maxsize=64)
def _problems(config: MultiBlockConfig, grid: Grid) -> tuple[str, ...]:
    official = config.mode == "official"
    least = config.min_keep + official
    lengths = {
        f"1 of {_SHORT} contexts": (_context_length(config, grid), "fewer or smaller targets"),
    }
    if official:  # it tries for ever where a block itself is too small
        for name in ("target", "context"):
            smallest, _ = _patch_counts(config, grid, name)
            lengths[f"the smallest {name} block"] = smallest, f"a larger {name}_scale"
    found = []
    for name, (length, remedy) in lengths.items():
        if length < least:
            works = length - official
            lower = f"min_keep of at most {works}, or " if works >= 1 else ""
            found.append(
                f"on a grid of {grid[0]} x {grid[1]} patches, {name} has only {length}, and "
                f"min_keep {config.min_keep} asks for {least}: set {lower}{remedy}, or cut images "
                "into more patches"
            )
    return tuple(found)


@lru_cache(maxsize=128)
def _sizes(config: MultiBlockConfig, grid: Grid, block: Block) -> Ints:
    """Possible sizes (256, 256, 2) of a block; official: (256, 2), one level being for both."""
    height, width = grid
    official = config.mode == "official"
    if block == "target":
        scale, ratio = config.target_scale, config.target_ratio
    else:
        # The shape of the grid: a square would leave most of an oblong grid out of every context.
        shape = 1.0 if official else height / width
        scale, ratio = config.context_scale, (shape, shape)
    if official:
        table = size_table(grid, scale, ratio, least=0, largest=(height - 1, width - 1))
        return table[np.arange(len(table)), np.arange(len(table))]
    return size_table(grid, scale, ratio, least=1, largest=grid)


@lru_cache(maxsize=128)
def _patch_counts(config: MultiBlockConfig, grid: Grid, block: Block) -> tuple[int, int]:
    """Fewest and most patches that a block can have."""
    counts = _sizes(config, grid, block).prod(axis=-1)
    return int(counts.min()), int(counts.max())


def _blocks(
    config: MultiBlockConfig, grid: Grid, block: Block, run: Run, ids: Ints, attempt: int = 0
) -> Ints:
    """Blocks (B, N, 4) of samples (B,): N is the number of targets, or 1 context."""
    seed, epoch, step = run
    official = config.mode == "official"
    table = _sizes(config, grid, block)
    number = np.arange(config.targets if block == "target" else 1)
    own = ("masks", seed, epoch, ids[:, None], attempt, block, number)
    if official:
        sizes = table[level("masks of a step", seed, step, block)]
        sizes = np.broadcast_to(sizes.reshape(-1, 1, 2), (len(ids), len(number), 2))
    else:
        sizes = table[level(*own, "scale"), level(*own, "ratio")]
    return place(sizes, grid, *own, beyond=0 if official else 1)


@lru_cache(maxsize=64)
def _context_length(config: MultiBlockConfig, grid: Grid) -> int:
    """The length that all but one of 128 contexts reach, about the least of a batch of 128.

    It is that of a population drawn once and for all, and so a constant of config and grid.
    """
    ids = np.arange(_POPULATION)
    run = (0, 0, ids)  # each sample has a step, and so official blocks, of its own
    targets = _blocks(config, grid, "target", run, ids)
    context = _blocks(config, grid, "context", run, ids)
    visible = covered(context, grid) & ~covered(targets, grid)
    return int(np.sort(visible.sum(axis=(1, 2)))[_POPULATION // _SHORT])


def _corrected(config: MultiBlockConfig, grid: Grid, run: Run, ids: Ints) -> PatchMasks:
    seed, epoch, _ = run
    length = _context_length(config, grid)
    targets = np.zeros((len(ids), config.targets, 4), dtype=np.int64)
    visible = np.zeros((len(ids), *grid), dtype=np.bool_)
    missing = np.arange(len(ids))
    for attempt in range(_TRIES + 1):
        targets[missing] = _blocks(config, grid, "target", run, ids[missing], attempt)
        context = _blocks(config, grid, "context", run, ids[missing], attempt)
        visible[missing] = covered(context, grid) & ~covered(targets[missing], grid)
        missing = missing[visible[missing].sum(axis=(1, 2)) < length]
        if not missing.size:
            break
    else:  # a chance of 128 to the power of -21
        raise RuntimeError(f"no context of {length} patches in {_TRIES + 1} draws: {config!r}")

    _, most = _patch_counts(config, grid, "target")
    sizes = targets[..., 2:].prod(axis=-1)
    places = np.arange(most)
    kept = np.where(places < sizes[..., None], places, 0)
    flat = visible.reshape(len(ids), grid[0] * grid[1])
    return PatchMasks(
        context=random_subset(flat, length, "masks", seed, epoch, ids[:, None], "context"),
        targets=patches_of(targets, kept, grid),
        sizes=sizes,
    )


def _official(
    config: MultiBlockConfig, grid: Grid, run: Run, ids: Ints, shortest: Shortest
) -> PatchMasks:
    targets = _blocks(config, grid, "target", run, ids)
    visible = np.zeros((len(ids), *grid), dtype=np.bool_)
    missing = np.arange(len(ids))
    for attempt in range(_TRIES * config.targets + 1):
        context = _blocks(config, grid, "context", run, ids[missing], attempt)
        heeded = targets[missing, : config.targets - attempt // _TRIES]  # at last none
        visible[missing] = covered(context, grid) & ~covered(heeded, grid)
        missing = missing[visible[missing].sum(axis=(1, 2)) <= config.min_keep]
        if not missing.size:
            break

    patches = grid[0] * grid[1]
    sizes = targets[..., 2:].prod(axis=-1)
    own = (
        int(visible.sum(axis=(1, 2)).min(initial=patches)),
        int(sizes.min(initial=patches)),
    )
    context_length, target_length = shortest(*own)
    if not (0 < context_length <= own[0] and 0 < target_length <= own[1]):
        raise ValueError(f"shortest gave {(context_length, target_length)} for {own}")
    kept = np.broadcast_to(np.arange(target_length), (*sizes.shape, target_length))
    return PatchMasks(
        context=first_subset(visible.reshape(len(ids), patches), context_length),
        targets=patches_of(targets, kept, grid),
        sizes=np.full_like(sizes, target_length),
    )
