"""Multi-block masks: the public algorithm with its faults, and one without them."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.views.arrays import Bools, Ints
from pipeline.views.masks import MultiBlockConfig, PatchMasks, draw_masks, problems

pytestmark = pytest.mark.fast

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


# The public algorithm, one sample after another, with a generator as it has one.


def loop_size(
    grid: Grid, scale: tuple[float, float], ratio: tuple[float, float], r: float
) -> tuple[int, int]:
    height, width = grid
    keep = int(height * width * (scale[0] + r * (scale[1] - scale[0])))
    aspect = ratio[0] + r * (ratio[1] - ratio[0])
    h, w = round((keep * aspect) ** 0.5), round((keep / aspect) ** 0.5)
    while h >= height:
        h -= 1
    while w >= width:
        w -= 1
    return h, w


def loop_batch(
    rng: np.random.Generator, *, grid: Grid, batch: int, min_keep: int
) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Contexts and targets before they are cut."""
    height, width = grid
    target_size = loop_size(grid, (0.15, 0.2), (0.75, 1.5), rng.uniform())
    context_size = loop_size(grid, (0.85, 1.0), (1.0, 1.0), rng.uniform())

    def block(h: int, w: int) -> set[int]:
        top, left = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        return {y * width + x for y in range(top, top + h) for x in range(left, left + w)}

    contexts, targets = [], []
    for _ in range(batch):
        four = [block(*target_size) for _ in range(4)]
        tries, heeded = 0, 4
        while True:
            context = block(*context_size).difference(*four[:heeded])
            if len(context) > min_keep:
                break
            tries += 1
            if tries == 20:
                tries, heeded = 0, heeded - 1
        contexts.append(sorted(context))
        targets.append([sorted(one) for one in four])
    return contexts, targets


@pytest.mark.parametrize("grid", [(8, 8), (14, 14), (12, 17)])
def test_official_masks_have_the_statistics_of_the_public_loop(grid: Grid) -> None:
    rng = np.random.default_rng(0)
    batch, count = 64, 40
    theirs, lengths, target_lengths = np.zeros(grid), [], []
    their_targets = np.zeros(grid)
    for _ in range(count):
        contexts, targets = loop_batch(rng, grid=grid, batch=batch, min_keep=4)
        lengths.append(min(map(len, contexts)))
        target_lengths.append(len(targets[0][0]))
        theirs += seen(np.array([c[: lengths[-1]] for c in contexts]), grid).mean(axis=0)
        their_targets += seen(np.array(targets), grid).mean(axis=(0, 1))
    ours = steps(OFFICIAL, grid=grid, batch=batch, count=count)

    def close(left: list[int], right: list[int]) -> None:
        noise = np.sqrt((np.var(left) + np.var(right)) / count)
        assert abs(np.mean(left) - np.mean(right)) < 5 * noise + 1e-9

    close([m.context.shape[1] for m in ours], lengths)
    close([m.targets.shape[2] for m in ours], target_lengths)
    seen_ours = np.mean([seen(m.context, grid).mean(axis=0) for m in ours], axis=0)
    targets_ours = np.mean([seen(m.targets, grid).mean(axis=(0, 1)) for m in ours], axis=0)
    assert np.abs(seen_ours - theirs / count).max() < 0.1  # per patch: 5 deviations of 2560
    assert np.abs(seen_ours - theirs / count).mean() < 0.02
    assert np.abs(targets_ours - their_targets / count).max() < 0.05
    assert ((seen_ours == 0) == (theirs == 0)).mean() > 0.97
    assert ((targets_ours == 0) == (their_targets == 0)).all()


def test_official_masks_of_14_by_14_never_reach_the_last_row_and_column() -> None:
    grid, sizes = (14, 14), set()
    for drawn in steps(OFFICIAL, grid=grid, batch=16, count=100):
        assert_valid(drawn, OFFICIAL, grid, 16)
        box = rectangles(drawn, grid)
        assert len(np.unique(box[..., 2:].reshape(-1, 2), axis=0)) == 1, "one size a batch"
        sizes.add(tuple(box[0, 0, 2:].tolist()))
        assert (box[..., :2] + box[..., 2:]).max() <= 13

        hidden = seen(drawn.targets, grid).any(axis=1)
        whole = np.zeros(grid, dtype=np.bool_)
        whole[:13, :13] = True
        for row in range(16):
            visible = np.flatnonzero(whole & ~hidden[row])
            kept = drawn.context.shape[1]
            np.testing.assert_array_equal(drawn.context[row], visible[:kept])
    assert sizes == {(5, 6), (6, 5), (6, 6), (7, 5), (8, 5)}


@pytest.mark.parametrize(
    ("grid", "batch", "context", "target"),
    [  # measured on the public algorithm
        ((14, 14), 128, 50.0, 33.5),
        ((14, 14), 16, 59.0, 33.5),
        ((14, 14), 1, 81.7, 33.5),
        ((16, 16), 16, None, 44.6),
        ((16, 16), 128, 68.0, 44.6),
        ((16, 16), 1, 109.0, 44.6),
        ((12, 12), 128, 35.0, None),
        ((12, 12), 1, 58.0, None),
        ((8, 8), 128, 11.8, None),
        ((8, 8), 1, 21.7, None),
        ((28, 28), 16, 276.0, 136.0),
        ((28, 28), 1, 356.0, 136.0),
    ],
)
def test_official_lengths_are_those_measured_on_the_public_code(
    grid: Grid, batch: int, context: float | None, target: float | None
) -> None:
    drawn = steps(OFFICIAL, grid=grid, batch=batch, count=600 if batch == 1 else 120)
    for name, expected in (("context", context), ("targets", target)):
        lengths = [getattr(m, name).shape[-1] for m in drawn]
        if expected:
            noise = np.std(lengths) * np.sqrt(1 / len(lengths) + 1 / 60)
            assert abs(np.mean(lengths) - expected) < 4 * noise + 0.06


def test_official_contexts_lose_their_lower_rows_to_the_cut() -> None:
    measured = (0.75, 0.60, 0.47, 0.36, 0.26, 0.21, 0.19, 0.18, 0.19, 0.18, 0.13, 0.06, 0.02, 0.0)
    drawn = steps(OFFICIAL, grid=(14, 14), batch=128, count=60)
    rows = np.mean([seen(m.context, (14, 14)).mean(axis=(0, 2)) for m in drawn], axis=0)
    np.testing.assert_allclose(rows, measured, atol=0.025)


def test_official_sizes_follow_the_step_alone_and_places_the_sample_and_epoch() -> None:
    one, other = masks(OFFICIAL, step=3), masks(OFFICIAL, step=3, ids=np.arange(500, 520), epoch=1)
    assert one.sizes[0, 0] == other.sizes[0, 0]
    again = masks(OFFICIAL, step=3, ids=np.arange(20), epoch=1)
    assert (again.targets != one.targets[:20]).any(axis=(1, 2)).mean() > 0.95
    sizes = {
        seed: [masks(OFFICIAL, ids=1, seed=seed, step=s).sizes[0, 0] for s in range(40)]
        for seed in (0, 1)
    }
    assert len(set(sizes[0])) > 2
    assert sizes[0] != sizes[1]


def test_official_masks_of_several_ranks_are_those_of_one() -> None:
    ids = np.arange(96) * 7
    whole = masks(OFFICIAL, ids=ids, step=5)
    parts = [masks(OFFICIAL, ids=ids[rank::3], step=5) for rank in range(3)]
    assert len({m.context.shape[1] for m in parts}) > 1, "else this tests nothing"
    asked: list[tuple[int, int]] = []

    def shortest(context: int, targets: int) -> tuple[int, int]:
        asked.append((context, targets))
        return (
            min(m.context.shape[1] for m in parts),
            min(m.targets.shape[2] for m in parts),
        )

    for rank in range(3):
        part = masks(OFFICIAL, ids=ids[rank::3], step=5, shortest=shortest)
        for name in ("context", "targets", "sizes"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[rank::3])
    assert asked == [(m.context.shape[1], m.targets.shape[2]) for m in parts]


def test_of_official_blocks_that_are_cut_what_is_left_counts() -> None:
    whole, cut = masks(OFFICIAL), masks(OFFICIAL, shortest=lambda c, targets: (c, targets - 3))
    assert cut.targets.shape[2] == whole.targets.shape[2] - 3
    np.testing.assert_array_equal(cut.targets, whole.targets[..., :-3])
    assert (cut.sizes == cut.targets.shape[2]).all()


def test_a_length_that_some_rank_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="shortest gave"):
        masks(OFFICIAL, shortest=lambda context, targets: (context + 1, targets))


def test_an_official_context_that_stays_too_short_ignores_the_last_targets() -> None:
    config = MultiBlockConfig(
        mode="official", target_scale=(0.25, 0.25), target_ratio=(1, 1), min_keep=32
    )
    drawn = masks(config, ids=4096)
    assert drawn.context.shape[1] > 32
    hidden = seen(drawn.targets, (14, 14))
    block = np.zeros((14, 14), dtype=np.bool_)
    block[:13, :13] = True
    fewer = 0
    for row in range(4096):
        for heeded in (4, 3, 2, 1, 0):
            visible = np.flatnonzero(block & ~hidden[row, :heeded].any(axis=0))
            if len(visible) > 32:
                break
        fewer += heeded < 4
        np.testing.assert_array_equal(drawn.context[row], visible[: drawn.context.shape[1]])
    assert 5 < fewer < 200


# Corrected masks.

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


@pytest.mark.parametrize("mode", ["corrected", "official"])
@pytest.mark.parametrize(
    "grid", [*((side, side) for side in range(8, 33)), (8, 12), (12, 8), (14, 20), (32, 24)]
)
def test_the_defaults_work_on_every_grid_from_8_by_8(mode: str, grid: Grid) -> None:
    config = MultiBlockConfig.model_validate({"mode": mode})
    assert problems(config, grid=grid) == []
    drawn = masks(config, grid=grid, ids=64)
    assert_valid(drawn, config, grid, 64)
    if mode == "corrected":
        hidden = seen(drawn.targets, grid).any(axis=1)
        assert not (hidden & seen(drawn.context, grid)).any()
        other = masks(config, grid=grid, ids=np.arange(64) + 900, seed=1, epoch=2, step=3)
        for name in ("context", "targets", "sizes"):
            assert getattr(drawn, name).shape == getattr(other, name).shape


def test_corrected_contexts_of_oblong_grids_have_the_grids_shape() -> None:
    assert masks(CORRECTED, grid=(8, 32)).context.shape[1] > 50
    reached = seen(masks(CORRECTED, grid=(8, 32), ids=400).context, (8, 32)).mean(axis=0)
    assert reached.min() > 0.05


def test_the_recipes_min_keep_changes_nothing_on_14_by_14() -> None:
    for mode in ("official", "corrected"):
        recipe = MultiBlockConfig.model_validate({"mode": mode, "min_keep": 10})
        default = MultiBlockConfig.model_validate({"mode": mode})
        for step in range(5):
            assert_equal(masks(recipe, step=step, ids=512), masks(default, step=step, ids=512))


@pytest.mark.parametrize(
    ("changes", "grid", "message"),
    [
        (
            {"mode": "official", "min_keep": 10},
            (8, 8),
            "8 x 8 patches, the smallest target block has only 9, .*10 asks for 11: "
            "set min_keep of at most 8",
        ),
        ({"mode": "official"}, (6, 6), "target block has only 4.* asks for 5: .*at most 3"),
        ({"mode": "official"}, (1, 20), "context block has only 0"),
        ({"mode": "official"}, (8, 32), "1 of 128 contexts"),
        ({"min_keep": 20}, (8, 8), "1 of 128 contexts has only 13, .* asks for 20: .*most 13"),
        ({"targets": 16, "target_scale": (0.5, 0.9)}, (14, 14), "has only 0.*: set fewer"),
        ({}, (0, 8), "at least 1 x 1"),
        ({}, (1, 1), "has only 0"),
    ],
)
def test_what_cannot_work_is_refused_with_numbers(
    changes: dict[str, Any], grid: Grid, message: str
) -> None:
    config = MultiBlockConfig.model_validate(changes)
    with pytest.raises(ValueError, match=message):
        masks(config, grid=grid)


@settings(max_examples=80, deadline=None)
@given(
    mode=st.sampled_from(["corrected", "official"]),
    targets=st.integers(1, 8),
    scales=st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4),
    ratios=st.lists(st.floats(0.05, 20.0), min_size=2, max_size=2),
    min_keep=st.integers(1, 12),
    grid=st.tuples(st.integers(1, 16), st.integers(1, 16)),
)
def test_settings_without_problems_give_valid_masks_and_others_none(
    mode: str,
    targets: int,
    scales: list[float],
    ratios: list[float],
    min_keep: int,
    grid: Grid,
) -> None:
    config = MultiBlockConfig.model_validate(
        {
            "mode": mode,
            "targets": targets,
            "target_scale": sorted([scales[0] / 2, scales[1] / 2]),
            "target_ratio": sorted(ratios),
            "context_scale": sorted(scales[2:]),
            "min_keep": min_keep,
        }
    )
    if wrong := problems(config, grid=grid):
        assert all(any(digit.isdigit() for digit in line) for line in wrong)
        with pytest.raises(ValueError, match=r"patches"):
            masks(config, grid=grid, ids=4)
        return
    for step in range(2):
        drawn = masks(config, grid=grid, ids=300, step=step)
        assert_valid(drawn, config, grid, 300)
        if mode == "corrected":
            hidden = seen(drawn.targets, grid).any(axis=1)
            assert not (hidden & seen(drawn.context, grid)).any()
        else:
            assert drawn.context.shape[1] > min_keep


def test_settings_that_make_no_sense_are_refused_in_one_message() -> None:
    with pytest.raises(ValidationError) as caught:
        MultiBlockConfig(target_scale=(0.3, 0.2), context_scale=(0.5, 1.5), target_ratio=(0, 1))
    for name in ("target_scale", "context_scale", "target_ratio"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("targets", 0),
        ("targets", 17),
        ("min_keep", 0),
        ("mode", "public"),
        ("target_scale", (0.0, 0.2)),
        ("target_ratio", (0.5, float("inf"))),
        ("colour", 1),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        MultiBlockConfig.model_validate({name: value})
