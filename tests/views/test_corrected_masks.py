"""Masks without the faults of the public sampler."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.views.arrays import Ints
from pipeline.views.masks import MultiBlockConfig, PatchMasks
from tests.views.mask_checks import (
    CORRECTED,
    OFFICIAL,
    Grid,
    assert_equal,
    assert_valid,
    counted,
    masks,
    rectangles,
    seen,
)

pytestmark = pytest.mark.fast

LARGE_IDS = 8192


@pytest.fixture(scope="module")
def many() -> PatchMasks:
    return masks(CORRECTED, ids=LARGE_IDS)


@settings(max_examples=40, deadline=None)
@given(
    ids=st.lists(st.integers(0, 2**62), min_size=1, max_size=20),
    grid=st.sampled_from([(8, 8), (14, 14), (9, 13)]),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
    step=st.integers(0, 10**6),
    order=st.randoms(use_true_random=False),
)
def test_a_samples_masks_do_not_depend_on_its_batch_or_place_in_it(
    ids: list[int], grid: Grid, seed: int, epoch: int, step: int, order: Any
) -> None:
    def of(chosen: Ints, step: int) -> PatchMasks:
        some = np.array(ids, dtype=np.int64)[chosen]
        return masks(CORRECTED, grid=grid, ids=some, seed=seed, epoch=epoch, step=step)

    whole = of(np.arange(len(ids)), step)
    shuffled = np.array(order.sample(range(len(ids)), len(ids)))
    for chosen in (shuffled, *np.arange(len(ids))[:, None]):
        expected = PatchMasks(
            context=whole.context[chosen],
            targets=whole.targets[chosen],
            sizes=whole.sizes[chosen],
        )
        assert_equal(of(chosen, step + 1), expected)


def test_samples_drawn_anew_do_not_depend_on_their_batch_either() -> None:
    whole = masks(CORRECTED, ids=2048)  # some 20 of which were too short at first
    parts = [masks(CORRECTED, ids=part) for part in np.split(np.arange(2048), 64)]
    for name in ("context", "targets", "sizes"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_seeds_epochs_and_samples_give_unrelated_masks() -> None:
    base = masks(CORRECTED, ids=2000, seed=2, epoch=3)
    others = [
        masks(CORRECTED, ids=2000, seed=3, epoch=3),
        masks(CORRECTED, ids=2000, seed=2, epoch=4),
        masks(CORRECTED, ids=2000, seed=3, epoch=2),
        masks(CORRECTED, ids=np.arange(2000) + 2000, seed=2, epoch=3),
    ]
    left = rectangles(base, (14, 14))[..., 0].ravel()
    for other in others:
        assert (base.context != other.context).any(axis=1).all()
        right = rectangles(other, (14, 14))[..., 0].ravel()
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 / np.sqrt(len(left))
    tops = rectangles(base, (14, 14))[..., 0].T
    related = np.corrcoef(np.concatenate([tops, base.sizes.T])) - np.eye(8)
    related[np.arange(4), np.arange(4) + 4] = related[np.arange(4) + 4, np.arange(4)] = 0
    assert np.abs(related).max() < 5 / np.sqrt(2000)


def test_the_callable_for_lengths_is_not_asked_and_lengths_are_constants() -> None:
    def shortest(context: int, targets: int) -> tuple[int, int]:
        raise AssertionError

    shapes = {
        tuple(x.shape[1:] for x in astuple(masks(CORRECTED, ids=ids, seed=ids, shortest=shortest)))
        for ids in (1, 3, 128, 1000)
    }
    assert shapes == {((53,), (4, 42), (4,))}


def test_an_empty_batch_has_the_shapes_of_any_other() -> None:
    drawn = masks(CORRECTED, ids=0)
    assert drawn.context.shape == (0, 53)
    assert drawn.targets.shape == (0, 4, 42)
    assert drawn.sizes.shape == (0, 4)


def test_target_blocks_are_whole_and_contexts_avoid_them(many: PatchMasks) -> None:
    grid = (14, 14)
    assert_valid(many, CORRECTED, grid, LARGE_IDS)
    context = seen(many.context, grid)
    assert not (context & seen(many.targets, grid).any(axis=1)).any()
    numbers = np.arange(196).reshape(grid)
    for row, boxes in enumerate(rectangles(many, grid)):
        blocks = many.blocks(row)
        assert len(blocks) == 4
        for patches, (top, left, height, width) in zip(blocks, boxes, strict=True):
            area = np.s_[top : top + height, left : left + width]
            assert not context[row][area].any()
            assert patches.tolist() == numbers[area].ravel().tolist()


def test_a_block_of_the_largest_size_has_no_padding_and_others_have(many: PatchMasks) -> None:
    assert many.sizes.max() == many.targets.shape[2] == 42
    assert many.sizes.min() == 24
    padding = 1 - counted(many).mean()
    assert padding == pytest.approx(1 - many.sizes.mean() / 42)
    assert 0.15 < padding < 0.25


def test_every_patch_is_reached_and_no_side_is_preferred(many: PatchMasks) -> None:
    grid, noise = (14, 14), 5 * np.sqrt(0.25 / LARGE_IDS)
    context = seen(many.context, grid).mean(axis=0)
    targets = seen(many.targets, grid).any(axis=1).mean(axis=0)
    for share in (context, targets):
        assert share.min() > 0.01
        assert np.abs(share - share[::-1]).max() < noise
        assert np.abs(share - share[:, ::-1]).max() < noise
        rows = share.mean(axis=1)
        assert np.abs(rows - rows[::-1]).max() < 0.02


def loop_corrected(rng: np.random.Generator, grid: Grid) -> tuple[int, list[tuple[int, ...]]]:
    """Patches of one context, and the target blocks, as the paper reads."""
    height, width = grid
    free = np.ones(grid, dtype=np.bool_)
    blocks = []
    for _ in range(4):
        keep = int(height * width * rng.uniform(0.15, 0.2))
        aspect = rng.uniform(0.75, 1.5)
        h = min(round((keep * aspect) ** 0.5), height)
        w = min(round((keep / aspect) ** 0.5), width)
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        free[top : top + h, left : left + w] = False
        blocks.append((top, left, h, w))
    side = round(int(height * width * rng.uniform(0.85, 1.0)) ** 0.5)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return int(free[top : top + side, left : left + side].sum()), blocks


@pytest.mark.parametrize("side", [8, 14, 16])
def test_corrected_blocks_and_lengths_are_those_of_a_loop(side: int) -> None:
    rng, grid, count = np.random.default_rng(1), (side, side), 6000
    drawn = [loop_corrected(rng, grid) for _ in range(count)]
    lengths = np.array([length for length, _ in drawn])
    blocks = np.array([four for _, four in drawn]).reshape(-1, 4)
    ours = masks(CORRECTED, grid=grid, ids=count)

    assert (lengths < ours.context.shape[1]).mean() < 0.0078 * 1.6
    assert (lengths < ours.context.shape[1] + 2).mean() > 0.0078 * 0.7
    areas = blocks[:, 2:].prod(axis=1)
    assert ours.targets.shape[2] == areas.max()
    assert set(np.unique(ours.sizes)) == set(np.unique(areas))
    for area in np.unique(areas):
        share = (areas == area).mean()
        noise = np.sqrt(2 * share * (1 - share) / len(areas))
        assert abs((ours.sizes == area).mean() - share) < 5 * noise + 0.006  # and 256 levels


def test_scale_and_ratio_are_drawn_apart() -> None:
    grid = (32, 32)

    def related(config: MultiBlockConfig, drawn: list[PatchMasks]) -> float:
        box = np.concatenate([rectangles(m, grid)[:, 0] for m in drawn])
        sizes = np.concatenate([m.sizes[:, 0] for m in drawn])
        return float(np.corrcoef(sizes, np.log(box[:, 2] / box[:, 3]))[0, 1])

    assert abs(related(CORRECTED, [masks(CORRECTED, grid=grid, ids=4096)])) < 0.08
    single = [masks(OFFICIAL, grid=grid, ids=1, step=step) for step in range(300)]
    assert related(OFFICIAL, single) > 0.9


def test_every_position_of_a_block_is_as_frequent_as_any_other_borders_included(
    many: PatchMasks,
) -> None:
    box = rectangles(many, (14, 14)).reshape(-1, 4)
    for first, size in ((0, 2), (1, 3)):
        for length in (5, 6):
            starts = box[box[:, size] == length, first]
            positions = 14 - length + 1
            counts = np.bincount(starts, minlength=positions)
            expected = len(starts) / positions
            assert len(counts) == positions
            # Redraws of short contexts shift these a little.
            assert np.abs(counts / expected - 1).max() < 5 / np.sqrt(expected) + 0.02


def test_the_patches_that_a_context_loses_are_chosen_at_random() -> None:
    """A context block that is the whole grid loses just the targets, before it is cut."""
    grid = (14, 14)
    drawn = masks(MultiBlockConfig(context_scale=(1, 1)), grid=grid, ids=LARGE_IDS)
    visible = ~seen(drawn.targets, grid).any(axis=1)
    chance = drawn.context.shape[1] / visible.sum(axis=(1, 2), keepdims=True)
    assert chance.mean() < 0.9
    kept = seen(drawn.context, grid)
    assert not (kept & ~visible).any()
    excess = np.where(visible, kept - chance, 0)
    noise = np.sqrt((visible * chance * (1 - chance)).sum(axis=0))
    assert np.abs(excess.sum(axis=0) / noise).max() < 4.5
    # Nor are neighbours chosen together: by a fixed number of all, they are a little less often.
    for one, other in ((excess[:, 1:], excess[:, :-1]), (excess[..., 1:], excess[..., :-1])):
        assert abs((one * other).sum() / np.square(excess).sum()) < 0.02


def test_nothing_is_cut_or_padded_where_every_sample_has_the_same_lengths() -> None:
    config = MultiBlockConfig(
        targets=1, target_scale=(0.25, 0.25), target_ratio=(1, 1), context_scale=(1, 1)
    )
    drawn = masks(config, grid=(8, 8), ids=300)
    both = np.concatenate([drawn.context, drawn.targets[:, 0]], axis=1)
    assert (np.sort(both, axis=1) == np.arange(64)).all()
    assert (drawn.sizes == 16).all()
    assert (rectangles(drawn, (8, 8))[..., 2:] == 4).all()


def test_a_block_may_span_the_grid() -> None:
    config = MultiBlockConfig(targets=1, target_scale=(0.5, 0.5), target_ratio=(2, 2), min_keep=1)
    drawn = masks(config, grid=(8, 8), ids=200)
    box = rectangles(drawn, (8, 8))[:, 0]
    assert (box[:, [0, 2, 3]] == (0, 8, 4)).all()
    assert set(box[:, 1]) == set(range(5))
