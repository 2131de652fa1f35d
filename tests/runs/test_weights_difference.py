"""Weights are compared bit by bit, and what differs by numbers that a slow loop finds too."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.runs.weights_difference import weights_difference

pytestmark = pytest.mark.fast


def never() -> dict[str, torch.Tensor]:
    raise AssertionError("nothing differs")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64])
def test_the_same_bits_are_the_same(dtype: torch.dtype) -> None:
    weights = {"a": torch.arange(6).view(2, 3).to(dtype), "b": torch.tensor(3).to(dtype)}
    found = weights_difference(weights, {k: v.clone() for k, v in weights.items()}, began=never)
    assert (found.tensors, found.differing, found.max_absolute, found.max_share) == (2, [], 0, 0)


def test_the_same_nan_is_the_same_and_another_sign_of_zero_is_not() -> None:
    nan = {"a": torch.tensor([math.nan, 1.0])}
    assert weights_difference(nan, {"a": nan["a"].clone()}, began=never).differing == []
    plus, minus = {"a": torch.zeros(1)}, {"a": -torch.zeros(1)}
    found = weights_difference(plus, minus, began=lambda: {"a": torch.ones(1)})
    assert (found.differing, found.max_absolute, found.max_share) == (["a"], 0, 0)


def test_layout_in_memory_does_not_matter() -> None:
    one = torch.randn(2, 3, 4, 4)
    other = one.to(memory_format=torch.channels_last)
    assert weights_difference({"a": one}, {"a": other}, began=never).differing == []


def test_differences_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    found, expected, began = (
        {name: rng.normal(size=5).astype(np.float32) for name in "abc"} for _ in range(3)
    )
    expected["c"] = found["c"].copy()
    as_tensors = [
        {name: torch.from_numpy(value) for name, value in weights.items()}
        for weights in (found, expected, began)
    ]
    told = weights_difference(as_tensors[0], as_tensors[1], began=lambda: as_tensors[2])
    absolute, relative, share = 0.0, 0.0, 0.0
    for name in "ab":
        apart, way = 0.0, 0.0
        for x, y, start in zip(found[name], expected[name], began[name], strict=True):
            x, y, start = float(x), float(y), float(start)
            absolute = max(absolute, abs(x - y))
            relative = max(relative, abs(x - y) / max(abs(x), abs(y)))
            apart, way = apart + (x - y) ** 2, way + (x - start) ** 2
        share = max(share, math.sqrt(apart / way))
    assert told.differing == ["a", "b"]
    assert told.max_absolute == pytest.approx(absolute, rel=1e-12)
    assert told.max_relative == pytest.approx(relative, rel=1e-12)
    assert told.max_share == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"a": torch.zeros(3)},
        {"a": torch.zeros(2, dtype=torch.float64)},
        {"a": torch.tensor([0.0, math.nan])},
        {"a": torch.zeros(2), "b": torch.zeros(1)},
    ],
    ids=["missing", "shape", "type", "nan", "more"],
)
def test_what_cannot_be_compared_is_infinitely_far(other: dict[str, torch.Tensor]) -> None:
    found = weights_difference({"a": torch.zeros(2)}, other, began=lambda: {"a": torch.ones(2)})
    assert len(found.differing) == 1
    assert found.max_share == math.inf


def test_a_weight_that_should_not_have_moved_is_infinitely_far() -> None:
    still, moved = {"a": torch.zeros(2)}, {"a": torch.full((2,), 1e-9)}
    assert weights_difference(still, moved, began=lambda: still).max_share == math.inf
