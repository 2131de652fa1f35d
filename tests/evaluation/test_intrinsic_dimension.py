"""IdEst against samples of known dimension, and trees against those of Prim's algorithm."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.panel import intrinsic_dimension
from pipeline.evaluation.panel.intrinsic_dimension import idest
from pipeline.evaluation.panel.measures import label_free_panel
from pipeline.randomness import permutation

pytestmark = pytest.mark.fast

Doubles = npt.NDArray[np.float64]
WIDTH = 24


def turn(width: int, *, seed: int) -> Doubles:
    """A rotation."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def cube(count: int, dimension: int, *, seed: int = 0) -> Doubles:
    """(count, WIDTH): uniform in a cube of some dimensions that lies askew in more."""
    points = np.random.default_rng(seed).random((count, dimension))
    return points @ turn(WIDTH, seed=seed)[:dimension]


def prim(points: Doubles) -> float:
    """Length of the minimum spanning tree: always the nearest point that is not in it yet."""
    nearest = np.linalg.norm(points - points[0], axis=1)
    outside = set(range(1, len(points)))
    length = 0.0
    while outside:
        joining = min(outside, key=lambda point: nearest[point])
        length += float(nearest[joining])
        outside.remove(joining)
        nearest = np.minimum(nearest, np.linalg.norm(points - points[joining], axis=1))
    return length


def slow_idest(features: Doubles, seed: int, *, most: int = 2000) -> float:
    """With trees of Prim's algorithm, and the slope by its formula."""
    points = features[permutation(len(features), "intrinsic dimension", seed)][:most]
    count = len(points)
    logs = []
    for number in range(16):
        size = int((number + 1) * count / 16)
        chosen = points[permutation(count, "tree", seed, number)[:size]]
        logs.append((math.log(size), math.log(prim(chosen))))
    mean_x = math.fsum(x for x, _ in logs) / 16
    mean_y = math.fsum(y for _, y in logs) / 16
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in logs) / math.fsum(
        (x - mean_x) ** 2 for x, _ in logs
    )
    return 1 / (1 - slope)


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5])
def test_the_dimension_of_a_cube_is_found_in_more_dimensions(dimension: int) -> None:
    """Trees at the cube's walls have fewer neighbours, so that high dimensions seem fewer."""
    assert idest(cube(1000, dimension), seed=0) == pytest.approx(dimension, rel=0.2)


def test_more_dimensions_are_more() -> None:
    found = [idest(cube(500, dimension, seed=3), seed=3) for dimension in (1, 2, 4, 7)]
    assert found == sorted(found)
    assert found[0] > 1


def test_a_curve_has_one_dimension_and_a_sphere_two() -> None:
    angle = np.random.default_rng(0).random(1000) * 2 * np.pi
    curve = np.stack([np.cos(angle), np.sin(angle), np.cos(3 * angle)], axis=1)
    assert idest(curve, seed=0) == pytest.approx(1, rel=0.1)
    sphere = np.random.default_rng(0).normal(size=(1000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    assert idest(sphere, seed=0) == pytest.approx(2, rel=0.1)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(48, 90),
    st.integers(2, 5),
    st.integers(0, 10),
    st.sampled_from([0.0, 0.2, 0.6]),
)
def test_it_equals_the_slow_one_with_duplicates_too(
    count: int, dimension: int, seed: int, doubled: float
) -> None:
    chance = np.random.default_rng(seed)
    points = cube(count, dimension, seed=seed)
    again = chance.random(count) < doubled
    points[again] = points[chance.integers(0, max(1, count // 4), int(again.sum()))]
    expected, found = slow_idest(points, seed), idest(points, seed=seed)
    if expected <= 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(expected, rel=1e-8)


def test_zeros_of_both_signs_are_one_point() -> None:
    points = cube(200, 2)
    points[:60] = 0.0
    signed = points.copy()
    signed[:60:2] = -0.0
    assert idest(signed, seed=0) == idest(points, seed=0) == pytest.approx(slow_idest(points, 0))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_it_does_not_change_with_rotation_shift_or_scale(
    scale: float, dtype: type[np.floating]
) -> None:
    points = cube(300, 3)
    moved = (scale * (points @ turn(WIDTH, seed=9) + np.arange(WIDTH))).astype(dtype)
    digits = 1e-9 if dtype == np.float64 else 1e-3
    assert idest(moved, seed=0) == pytest.approx(idest(points, seed=0), rel=digits)
    assert idest(moved, seed=0) == idest(moved, seed=0)


def test_the_seed_draws_other_samples() -> None:
    points = cube(400, 2)
    one, other = (idest(points, seed=seed) for seed in (0, 1))
    assert one != other
    assert one == pytest.approx(other, rel=0.15)


def test_of_many_samples_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intrinsic_dimension, "_MOST_SAMPLES", 60)
    points = cube(500, 2)
    assert idest(points, seed=4) == pytest.approx(slow_idest(points, 4, most=60), rel=1e-8)


@pytest.mark.parametrize(
    "features",
    [
        np.ones((100, 4)),
        np.zeros((100, 4), dtype=np.float32),
        cube(31, 2),
        cube(1, 2),
        np.repeat(cube(1, 3), 100, axis=0),
    ],
    ids=["ones", "zeros", "few", "one", "equal"],
)
def test_what_has_no_dimension_is_nan(features: npt.NDArray[np.floating]) -> None:
    assert math.isnan(idest(features, seed=0))


def test_as_few_as_32_samples_have_one() -> None:
    assert idest(cube(32, 2), seed=0) > 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_that_differ_by_rounding_alone_are_equal(dtype: type[np.floating]) -> None:
    chance = np.random.default_rng(0)
    one = chance.normal(size=WIDTH).astype(dtype)
    ulps = chance.integers(-1, 2, (500, WIDTH))
    noise = (one + ulps * np.spacing(one)).astype(dtype)
    assert len(np.unique(noise, axis=0)) > 400
    assert math.isnan(idest(noise, seed=0))


def test_a_tree_that_does_not_grow_is_of_no_manifold() -> None:
    """Two points, each many times: the length is the same however many samples there are."""
    two = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0]]), 100, axis=0)
    found = idest(two, seed=0)
    assert math.isnan(found) or found == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    "features",
    [np.ones(40), np.ones((40, 2), dtype=int), np.ones((40, 0)), np.full((40, 2), np.nan)],
    ids=["shape", "type", "width", "finite"],
)
def test_other_arrays_are_refused(features: npt.NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match="features"):
        idest(features, seed=0)  # type: ignore[arg-type]


def test_the_panel_has_it_of_first_views() -> None:
    views = np.stack([cube(120, 2), cube(120, 4, seed=1)], axis=1)
    assert label_free_panel(views, seed=5)["idest"] == idest(views[:, 0], seed=5)
