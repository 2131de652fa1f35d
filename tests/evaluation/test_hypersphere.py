"""Measures on the unit sphere against loops over pairs, closed forms and known values."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.evaluation.panel import hypersphere
from pipeline.evaluation.panel.hypersphere import (
    alignment,
    dead_dimensions,
    spread,
    tolerance,
    uniformity,
)

pytestmark = pytest.mark.fast

Doubles = npt.NDArray[np.float64]


def cloud(*shape: int, seed: int = 0) -> Doubles:
    return np.random.default_rng(seed).normal(size=shape) + 0.3


def distance(one: Doubles, other: Doubles) -> float:
    """On the unit sphere."""
    return float(np.linalg.norm(one / np.linalg.norm(one) - other / np.linalg.norm(other)))


def slow_uniformity(features: Doubles) -> float:
    terms = [math.exp(-2 * distance(x, y) ** 2) for x, y in combinations(features, 2)]
    return -math.log(math.fsum(terms) / len(terms))


def slow_alignment(views: Doubles) -> float:
    terms = [distance(x, y) ** 2 for sample in views for x, y in combinations(sample, 2)]
    return math.fsum(terms) / len(terms)


def slow_tolerance(features: Doubles, labels: list[int]) -> float:
    cosines = [
        float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
        for (x, one), (y, other) in combinations(zip(features, labels, strict=True), 2)
        if one == other
    ]
    return math.fsum(cosines) / len(cosines)


@pytest.mark.parametrize("block", [1, 3, 7, 1024])
@pytest.mark.parametrize(("count", "width"), [(2, 1), (7, 3), (30, 20)])
def test_uniformity_equals_the_loop_whatever_the_block(
    monkeypatch: pytest.MonkeyPatch, block: int, count: int, width: int
) -> None:
    monkeypatch.setattr(hypersphere, "_BLOCK", block)
    features = cloud(count, width, seed=count)
    assert uniformity(features) == pytest.approx(slow_uniformity(features), rel=1e-12)


def test_uniformity_of_independent_directions_in_128_dimensions() -> None:
    directions = np.random.default_rng(0).normal(size=(2500, 128))
    assert uniformity(directions) == pytest.approx(3.938, abs=2e-3)


def test_uniformity_of_known_configurations() -> None:
    assert uniformity(np.array([[3.0, 0], [-0.1, 0]])) == pytest.approx(8)
    assert uniformity(np.eye(5)) == pytest.approx(4)
    assert uniformity(np.array([[1.0, 0], [2, 0], [-1, 0]])) == pytest.approx(
        -math.log((1 + 2 * math.exp(-8)) / 3)
    )


@pytest.mark.parametrize(("samples", "count", "width"), [(2, 2, 1), (9, 2, 5), (6, 5, 7)])
def test_alignment_equals_the_loop(samples: int, count: int, width: int) -> None:
    views = cloud(samples, count, width)
    assert alignment(views) == pytest.approx(slow_alignment(views), rel=1e-12)


def test_alignment_of_known_views() -> None:
    features = cloud(20, 1, 6)
    assert alignment(np.concatenate([features, 2 * features], axis=1)) == pytest.approx(
        0, abs=1e-30
    )
    assert alignment(np.concatenate([features, -features], axis=1)) == pytest.approx(4)
    unrelated = np.random.default_rng(0).normal(size=(2000, 2, 256))
    assert alignment(unrelated) == pytest.approx(2, abs=0.01)


def test_alignment_does_not_change_with_the_order_of_samples_and_views() -> None:
    views = cloud(8, 4, 6)
    expected = alignment(views)
    assert alignment(views[::-1]) == pytest.approx(expected, rel=1e-12)
    assert alignment(views[:, [2, 0, 3, 1]]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_tolerance_equals_the_loop(classes: int) -> None:
    features = cloud(25, 6)
    labels = np.random.default_rng(classes).integers(-1, classes - 1, 25)
    expected = slow_tolerance(features, labels.tolist())
    assert tolerance(features, labels) == pytest.approx(expected, rel=1e-12)


def test_tolerance_of_known_classes() -> None:
    axes = np.repeat(np.eye(3), 4, axis=0)
    assert tolerance(axes, np.repeat([0, 1, 2], 4)) == pytest.approx(1)
    assert tolerance(axes, np.tile([0, 1, 2, 3], 3)) == pytest.approx(0)
    assert tolerance(np.array([[1.0], [-3.0]]), np.array([7, 7])) == pytest.approx(-1)
    assert math.isnan(tolerance(axes[:3], np.array([0, 1, 2])))


@pytest.mark.parametrize(
    "labels", [np.zeros(4, int), np.zeros((5, 1), int), np.zeros(5), np.zeros(5, bool)]
)
def test_tolerance_refuses_other_labels(labels: npt.NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match="labels must be 5 integers"):
        tolerance(np.ones((5, 2)), labels)


def test_spread_equals_the_deviation_of_each_dimension() -> None:
    features = cloud(30, 5)
    for d, found in enumerate(spread(features)):
        column = [float(row[d] / np.linalg.norm(row)) for row in features]
        mean = math.fsum(column) / 30
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in column) / 30)
        assert found == pytest.approx(deviation * math.sqrt(5), rel=1e-12)


def test_spread_of_an_isotropic_cloud_is_one() -> None:
    found = spread(np.random.default_rng(0).normal(size=(20_000, 32)))
    assert found.shape == (32,)
    assert found == pytest.approx(np.ones(32), abs=0.03)


@pytest.mark.parametrize("dead", [0, 1, 5, 8])
def test_dead_dimensions_are_counted(dead: int) -> None:
    features = np.random.default_rng(0).normal(size=(500, 8))
    features[:, :dead] *= 1e-3
    assert dead_dimensions(features) == (dead / 8 if dead < 8 else 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.0, 0.1, 30.0])
def test_collapsed_features(dtype: npt.DTypeLike, scale: float) -> None:
    row = (scale * cloud(64)).astype(dtype)
    views = np.tile(row, (50, 3, 1))
    features = views[:, 0]
    assert uniformity(features) == pytest.approx(0, abs=1e-12)
    assert alignment(views) == pytest.approx(0, abs=1e-12)
    assert spread(features) == pytest.approx(np.zeros(64), abs=1e-12)
    assert dead_dimensions(features) == 1
    assert tolerance(features, np.zeros(50, int)) == pytest.approx(float(scale > 0))


def test_rounding_does_not_bring_dead_dimensions_to_life() -> None:
    rows = np.tile(np.eye(1, 2048, dtype=np.float32) + np.float32(0.1), (100, 1))
    nudged = np.where(cloud(100, 2048) > 0.3, np.nextafter(rows, np.float32(9)), rows)
    assert spread(nudged).mean() > 0
    assert dead_dimensions(nudged) == 1


def with_all(views: Doubles) -> list[float]:
    features, labels = views[:, 0], np.arange(len(views)) % 3
    return [
        uniformity(features),
        alignment(views),
        tolerance(features, labels),
        dead_dimensions(features),
    ]


def test_do_not_change_with_rotation_or_the_scale_of_rows() -> None:
    views = cloud(30, 2, 8)
    rotation = np.linalg.qr(cloud(8, 8))[0]
    scales = np.random.default_rng(1).uniform(0.1, 9, size=(30, 2, 1))
    assert with_all(views @ rotation) == pytest.approx(with_all(views), rel=1e-12)
    assert with_all(views * scales) == pytest.approx(with_all(views), rel=1e-12)
    assert spread(views[:, 0] * scales[:, 0]) == pytest.approx(spread(views[:, 0]), rel=1e-12)


def test_float32_equals_float64_and_numbers_are_plain() -> None:
    views = cloud(30, 2, 8)
    assert with_all(views.astype(np.float32)) == pytest.approx(with_all(views), rel=1e-5)
    assert {type(value) for value in with_all(views)} == {float}
    assert spread(views[:, 0].astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize("measure", [uniformity, spread, dead_dimensions])
def test_one_sample_is_refused(measure: Callable[[Doubles], float]) -> None:
    with pytest.raises(ValueError, match="N >= 2"):
        measure(np.ones((1, 3)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    views = cloud(4, 2, 3)
    views[1, 0, 1] = value
    labels = np.zeros(4, int)
    for call in (
        lambda: uniformity(views[:, 0]),
        lambda: alignment(views),
        lambda: tolerance(views[:, 0], labels),
        lambda: spread(views[:, 0]),
        lambda: dead_dimensions(views[:, 0]),
    ):
        with pytest.raises(ValueError, match="NaN or infinity"):
            call()


@pytest.mark.parametrize("shape", [(5, 4), (1, 2, 3), (5, 1, 3), (5, 2, 0)])
def test_alignment_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="views must be"):
        alignment(np.ones(shape))
