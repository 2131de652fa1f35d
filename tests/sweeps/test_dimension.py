"""A dimension gives all of its values and no others, each as often as it says."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.sweeps.spaces.dimension import DimensionConfig

pytestmark = pytest.mark.fast

COUNT = 20_000
LAST = math.nextafter(1.0, 0.0)
SHARES = st.floats(0, 1, exclude_max=True)
NUMBERS = st.floats(-1e6, 1e6).map(lambda value: float(f"{value:.6g}"))
LISTS = st.lists(
    st.one_of(st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=3)),
    min_size=1,
    max_size=7,
    unique_by=str,
)


def dimension(**values: Any) -> DimensionConfig:
    return DimensionConfig.model_validate(values)


def pair(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(numbers, min_size=2, max_size=2, unique=True).map(sorted)


@st.composite
def stepped(draw: st.DrawFn) -> tuple[DimensionConfig, list[float]]:
    """With its values as decimal arithmetic has them."""
    digits = draw(st.integers(0, 4))
    unit = Decimal(1).scaleb(-digits)
    low = draw(st.integers(-2000, 2000)) * unit
    step = draw(st.integers(1, 50)) * unit
    count = draw(st.integers(1, 30))
    rest = draw(st.just(0) | st.integers(0, int(step / unit) - 1)) * unit
    high = low + count * step + rest
    values = [float(low + number * step) for number in range(count + 1)]
    return dimension(uniform=[float(low), float(high)], step=float(step)), values


@st.composite
def whole(draw: st.DrawFn) -> tuple[DimensionConfig, list[int]]:
    low, high = draw(pair(st.integers(-500, 500)))
    step = draw(st.integers(1, high - low))
    return dimension(integer=[low, high], step=step), list(range(low, high + 1, step))


def shares_of(config: DimensionConfig, values: list[Any]) -> list[Any]:
    """At the beginning, the middle and the end of each of equal parts of [0, 1)."""
    count = len(values)
    edges = (1e-9, 0.5, 1 - 1e-9)
    return [config.at((number + edge) / count) for number in range(count) for edge in edges]


def assert_like(found: list[float], expected: np.ndarray) -> None:
    """Kolmogorov-Smirnov against the shares that each value should lie at."""
    steps = np.arange(len(found)) / len(found)
    assert np.abs(np.sort(expected) - steps).max() < 2.7 / math.sqrt(len(found))


@settings(max_examples=300, deadline=None)
@given(stepped())
def test_a_stepped_range_is_cut_evenly_into_all_of_its_values(
    case: tuple[DimensionConfig, list[float]],
) -> None:
    config, values = case
    assert shares_of(config, values) == [value for value in values for _ in range(3)]
    assert config.at(0.0) == values[0]
    assert config.at(LAST) == values[-1]


@settings(max_examples=300, deadline=None)
@given(whole())
def test_whole_numbers_are_cut_evenly(case: tuple[DimensionConfig, list[int]]) -> None:
    config, values = case
    found = shares_of(config, values)
    assert found == [value for value in values for _ in range(3)]
    assert {type(value) for value in found} == {int}
    assert config.at(LAST) == values[-1]


@settings(max_examples=300, deadline=None)
@given(LISTS, st.sampled_from(["choice", "grid"]))
def test_listed_values_are_cut_evenly(values: list[Any], kind: str) -> None:
    config = dimension(**{kind: values})
    assert shares_of(config, values) == [value for value in values for _ in range(3)]
    assert config.at(LAST) == values[-1]
    assert list(config.extremes) == values


@settings(max_examples=300, deadline=None)
@given(pair(NUMBERS), SHARES)
def test_a_range_is_gone_through_in_proportion(ends: list[float], share: float) -> None:
    config = dimension(uniform=ends)
    low, high = ends
    assert low <= config.at(share) <= high
    assert config.at(share) == pytest.approx(low + share * (high - low), abs=1e-9 * (high - low))
    assert low <= config.at(LAST) <= high


@settings(max_examples=300, deadline=None)
@given(pair(st.floats(1e-12, 1e12)), SHARES)
def test_a_range_of_factors_is_gone_through_in_the_logarithm(
    ends: list[float], share: float
) -> None:
    config = dimension(log_uniform=ends)
    low, high = ends
    assert low <= config.at(share) <= high
    expected = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    assert config.at(share) == pytest.approx(expected, rel=1e-9)
    assert low <= config.at(LAST) <= high


def test_draws_are_spread_as_the_kind_says() -> None:
    draws = np.random.default_rng(0).random(COUNT)
    linear = [dimension(uniform=[-2, 6]).at(share) for share in draws]
    assert_like(linear, (np.array(linear) + 2) / 8)
    factors = [dimension(log_uniform=[1e-4, 1]).at(share) for share in draws]
    assert_like(factors, np.log10(factors) / 4 + 1)
    for config, count in (
        (dimension(integer=[3, 9]), 7),
        (dimension(integer=[0, 10], step=4), 3),
        (dimension(uniform=[0, 0.5], step=0.1), 6),
        (dimension(choice=["a", [1], None]), 3),
    ):
        texts, counts = np.unique([str(config.at(share)) for share in draws], return_counts=True)
        assert len(texts) == count
        spread = math.sqrt(COUNT / count)
        assert np.abs(counts - COUNT / count).max() < 5 * spread


@settings(max_examples=300, deadline=None)
@given(st.one_of(stepped(), whole()), st.floats(-5e3, 5e3))
def test_clipping_gives_the_nearest_of_the_values(
    case: tuple[DimensionConfig, list[float]], value: float
) -> None:
    config, values = case
    found = config.clipped(value)
    assert found in values
    assert abs(found - value) <= min(abs(other - value) for other in values) + 1e-9
    assert [config.clipped(other) for other in values] == values


@settings(max_examples=300, deadline=None)
@given(
    pair(st.floats(1e-6, 1e6)), st.floats(-1e7, 1e7), st.sampled_from(["uniform", "log_uniform"])
)
def test_clipping_to_a_range_stops_at_its_ends(ends: list[float], value: float, kind: str) -> None:
    expected = float(np.clip(value, *ends))
    assert dimension(**{kind: ends}).clipped(value) == expected


def test_clipping_reaches_the_end_whatever_sums_of_a_step_round_to() -> None:
    tenths = dimension(uniform=[0, 0.7], step=0.1)
    assert [tenths.clipped(value) for value in (0.3, 0.64, 0.7, 9.0)] == [0.3, 0.6, 0.7, 0.7]


def test_zero_is_zero_whatever_sums_of_a_step_round_to() -> None:
    config = dimension(uniform=[-1.2, 0], step=0.4)
    for zero in (config.at(LAST), config.clipped(0.0), config.clipped(5.0)):
        assert str(zero) == "0.0"
    assert config.allows(config.at(LAST))


def test_whole_numbers_are_clipped_to_whole_ones() -> None:
    config = dimension(integer=[4, 64])
    assert [config.clipped(value) for value in (3.2, 9.6, 76.8)] == [4, 10, 64]
    assert type(config.clipped(9.6)) is int


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        stepped().map(lambda case: case[0]),
        whole().map(lambda case: case[0]),
        LISTS.map(lambda values: dimension(choice=values)),
        pair(NUMBERS).map(lambda ends: dimension(uniform=ends)),
        pair(st.floats(1e-12, 1e12)).map(lambda ends: dimension(log_uniform=ends)),
    ),
    SHARES,
)
def test_what_it_gives_it_allows_and_can_be_written_down(
    config: DimensionConfig, share: float
) -> None:
    value = config.at(share)
    assert config.allows(value)
    place = config.share_of(value)
    assert place is not None
    assert 0 <= place <= 1
    assert DimensionConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("config", "within", "outside"),
    [
        ({"uniform": [0.1, 0.5]}, [0.1, 0.25, 0.5], [0.0999, 0.51, "0.2", None, True, [0.2]]),
        ({"uniform": [0, 1]}, [0, 1, 0.5], [True, False, math.nan]),
        ({"uniform": [0, 1], "step": 0.25}, [0.25, 0.3], [1.25]),
        ({"log_uniform": [1e-3, 1]}, [1e-3, 1, 0.5], [0, -1, 1.1]),
        ({"integer": [2, 8]}, [2, 8, 5.0], [1, 9, 2.5, "3"]),
        ({"choice": ["a", [8, 8], None]}, ["a", [8, 8], None], ["b", [8], 8, ""]),
        ({"grid": [1, 2]}, [1, 2, 2.0], [3]),
    ],
)
def test_it_allows_what_lies_within(
    config: dict[str, Any], within: list[Any], outside: list[Any]
) -> None:
    found = dimension(**config)
    assert [value for value in [*within, *outside] if found.allows(value)] == within


def test_shares_say_where_a_value_lies() -> None:
    assert dimension(uniform=[2, 6]).share_of(3) == 0.25
    assert dimension(log_uniform=[1e-4, 1]).share_of(1e-2) == pytest.approx(0.5)
    assert dimension(integer=[1, 5]).share_of(5) == 1
    assert [dimension(choice=["a", "b", "c"]).share_of(value) for value in "abc"] == [0, 0.5, 1]
    assert dimension(choice=["alone"]).share_of("alone") == 0


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"uniform": [0, 1]}, (0.0, 1.0)),
        ({"uniform": [0, 1], "step": 0.3}, (0.0, 1.0)),
        ({"log_uniform": [1e-3, 10]}, (1e-3, 10.0)),
        ({"integer": [2, 9]}, (2, 9)),
        ({"grid": [3, 1, 2]}, (3, 1, 2)),
    ],
)
def test_extremes_are_the_ends_or_every_value(
    config: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    found = dimension(**config).extremes
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


def test_it_applies_where_all_it_asks_for_is_so() -> None:
    config = dimension(uniform=[0, 1], when={"a.kind": ["x", "y"], "b": 1})
    assert config.applies({"a.kind": "y", "b": 1})
    assert not config.applies({"a.kind": "z", "b": 1})
    assert not config.applies({"a.kind": "y", "b": 2})
    assert not config.applies({"a.kind": "y"})
    assert dimension(uniform=[0, 1]).applies({})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "give exactly one of uniform, log_uniform, integer, choice, grid; got none"),
        ({"uniform": [0, 1], "choice": [1]}, "give exactly one of .*; got uniform, choice"),
        ({"uniform": [1, 1]}, r"uniform must be \[low, high\] with low < high, got \[1.0, 1.0\]"),
        ({"integer": [5, 2]}, r"integer must be \[low, high\] with low < high, got \[5, 2\]"),
        ({"log_uniform": [0, 1]}, "log_uniform needs low above 0, got 0"),
        ({"log_uniform": [-1, 1]}, "log_uniform needs low above 0, got -1"),
        ({"choice": [1, 2], "step": 1}, "step goes with uniform or integer"),
        ({"log_uniform": [1, 2], "step": 1}, "step goes with uniform or integer"),
        ({"integer": [1, 9], "step": 0.5}, "step of integer must be whole, got 0.5"),
        ({"uniform": [0, 1], "step": 0}, "greater than 0"),
        ({"choice": []}, "at least 1 item"),
        ({"uniform": [0]}, "Field required"),
        ({"uniform": [0, math.inf]}, "finite number"),
        ({"uniform": [math.nan, 1]}, "finite number"),
        ({"integer": [0.5, 3]}, "integer"),
        ({"unifrom": [0, 1]}, "Extra inputs"),
    ],
)
def test_a_mistake_is_told(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        dimension(**config)
