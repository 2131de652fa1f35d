"""LiDAR against a slow computation, closed forms and what must not change it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.evaluation.panel.lidar import lidar

pytestmark = pytest.mark.fast

Doubles = npt.NDArray[np.float64]


def views_of(samples: int, count: int, width: int, *, noise: float = 0.3) -> Doubles:
    generator = np.random.default_rng(samples + count + width)
    centres = generator.normal(size=(samples, 1, width)) * np.linspace(0.3, 1, width)
    return centres + noise * generator.normal(size=(samples, count, width))


def slow_lidar(views: Doubles) -> float:
    """Equations 1 to 4 with the symmetric root, one outer product at a time."""
    samples, count, width = views.shape
    means = [sum(sample) / count for sample in views]
    grand = sum(means) / samples
    between, within = np.zeros((width, width)), 1e-4 * np.eye(width)
    for sample, mean in zip(views, means, strict=True):
        between += np.outer(mean - grand, mean - grand) / (samples - 1)
        for view in sample:
            within += np.outer(view - mean, view - mean) / (samples * (count - 1))
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ between @ root)
    shares = [value / eigenvalues.sum() for value in eigenvalues if value > 0]
    return math.exp(-math.fsum(share * math.log(share) for share in shares))


@pytest.mark.parametrize(("samples", "count", "width"), [(2, 2, 1), (30, 2, 6), (9, 5, 20)])
@pytest.mark.parametrize("noise", [1e-3, 0.3, 3.0])
def test_equals_the_slow_computation(samples: int, count: int, width: int, noise: float) -> None:
    views = views_of(samples, count, width, noise=noise)
    assert lidar(views) == pytest.approx(slow_lidar(views), rel=1e-9)


@pytest.mark.parametrize("directions", [1, 3, 8])
def test_counts_the_directions_that_tell_samples_apart(directions: int) -> None:
    generator = np.random.default_rng(0)
    views = 0.01 * generator.normal(size=(3000, 4, 8))
    views[..., :directions] += generator.normal(size=(3000, 1, directions))
    assert lidar(views) == pytest.approx(directions, rel=0.02)


def test_directions_in_which_views_differ_count_less() -> None:
    generator = np.random.default_rng(0)
    views = np.repeat(generator.normal(size=(2000, 1, 8)), 4, axis=1)
    views[..., 4:] += 10 * generator.normal(size=(2000, 4, 4))
    assert lidar(views) == pytest.approx(4, rel=0.05)


def test_the_added_diagonal_acts_where_views_agree() -> None:
    generator = np.random.default_rng(0)
    views = np.repeat(generator.normal(size=(50, 1, 6)) * np.arange(1, 7), 2, axis=1)
    eigenvalues = np.linalg.eigvalsh(np.cov(views[:, 0].T))
    shares = eigenvalues / eigenvalues.sum()
    assert lidar(views) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-9)


def test_does_not_change_with_rotation_shift_or_order() -> None:
    views = views_of(40, 3, 12)
    expected = lidar(views)
    generator = np.random.default_rng(1)
    rotation = np.linalg.qr(generator.normal(size=(12, 12)))[0]
    shuffled = generator.permuted(np.arange(40 * 3).reshape(40, 3), axis=1)
    assert lidar(views @ rotation) == pytest.approx(expected, rel=1e-9)
    assert lidar(views + 5) == pytest.approx(expected, rel=1e-9)
    assert lidar(views[generator.permutation(40)]) == pytest.approx(expected, rel=1e-9)
    assert lidar(views.reshape(120, 12)[shuffled]) == pytest.approx(expected, rel=1e-9)
    assert lidar(views.astype(np.float32)) == pytest.approx(expected, rel=1e-5)
    assert type(expected) is float


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.0, 1.0, 0.1, 30.0])
def test_collapsed_features_have_no_direction(dtype: npt.DTypeLike, scale: float) -> None:
    row = scale * np.random.default_rng(0).normal(size=16)
    views = np.tile(row, (50, 2, 1)).astype(dtype)
    assert lidar(views) == 0
    if not scale:
        return
    touched = np.random.default_rng(1).random(views.shape) < 0.5
    assert lidar(np.where(touched, np.nextafter(views, np.inf, dtype=dtype), views)) == 0


@pytest.mark.parametrize("shape", [(5, 4), (1, 2, 3), (5, 1, 3), (5, 2, 0), (0, 2, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="views must be"):
        lidar(np.ones(shape))


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_views_that_are_not_finite_are_refused(value: float) -> None:
    views = views_of(4, 2, 3)
    views[1, 1, 1] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        lidar(views)
