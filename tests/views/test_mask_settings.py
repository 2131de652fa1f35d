"""Which settings of masks work on which grids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.views.masks import MultiBlockConfig, problems
from tests.views.mask_checks import (
    CORRECTED,
    Grid,
    assert_equal,
    assert_valid,
    masks,
    seen,
)

pytestmark = pytest.mark.fast


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
