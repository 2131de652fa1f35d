"""The public sampler with its faults, against a loop with a generator as it has one."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.views.masks import MultiBlockConfig
from tests.views.mask_checks import (
    OFFICIAL,
    Grid,
    assert_valid,
    masks,
    rectangles,
    seen,
    steps,
)

pytestmark = pytest.mark.fast


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
