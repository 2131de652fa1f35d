"""Diffusion entropies against the authors' values, a slow computation and known spectra."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.evaluation.panel.diffusion_entropy import (
    UNIT_SPHERE_BANDWIDTH,
    diffusion_spectral_entropy,
    dsmi,
)
from pipeline.randomness import permutation

pytestmark = pytest.mark.fast

Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

FIXTURES = Path(__file__).parent.parent / "fixtures"
GOLDEN = json.loads((FIXTURES / "golden.json").read_text())["golden"]


def golden_x40() -> Doubles:
    n, d = np.arange(40)[:, None], np.arange(6)[None]
    return np.sin(0.3 + 0.37 * n + 1.1 * d + 0.05 * n * d) + 1.5 * (n >= 20)


def unit_vectors(count: int, width: int, *, seed: int = 0) -> Doubles:
    vectors = np.random.default_rng(seed).normal(size=(count, width))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def slow_entropy(features: Doubles, *, bandwidth: float, power: float) -> float:
    """As in the paper: the spectrum of the random walk, which is not symmetric."""
    count = len(features)
    kernel = np.empty((count, count))
    for i in range(count):
        for j in range(count):
            square = float(((features[i] - features[j]) ** 2).sum())
            kernel[i, j] = math.exp(-square / (2 * bandwidth**2))
            kernel[i, j] /= bandwidth * math.sqrt(2 * math.pi)
    walk = np.diag(1 / kernel.sum(axis=1)) @ kernel
    weights = [abs(value) ** power for value in np.linalg.eigvals(walk)]
    shares = [weight / math.fsum(weights) for weight in weights]
    return -math.fsum(share * math.log2(share) for share in shares if share > 0)


@pytest.mark.parametrize(("bandwidth", "power"), [(1, 1), (1, 2), (10, 1)])
def test_equals_the_golden_values(bandwidth: int, power: int) -> None:
    found = diffusion_spectral_entropy(golden_x40(), bandwidth=bandwidth, power=power)
    expected = GOLDEN[f"dse_X40_sigma{bandwidth}_t{power}"]
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("bandwidth", [0.2, 0.7, 3.0])
@pytest.mark.parametrize("power", [1, 2, 4.5])
@pytest.mark.parametrize(("count", "width"), [(1, 4), (2, 1), (30, 5)])
def test_equals_the_slow_computation(
    bandwidth: float, power: float, count: int, width: int
) -> None:
    features = np.random.default_rng(count).normal(size=(count, width))
    found = diffusion_spectral_entropy(features, bandwidth=bandwidth, power=power)
    expected = slow_entropy(features, bandwidth=bandwidth, power=power)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("scale", [0.0, 0.1, 1e6])
def test_identical_rows_have_no_entropy(scale: float) -> None:
    rows = np.tile(scale * unit_vectors(1, 9), (60, 1))
    assert diffusion_spectral_entropy(rows, bandwidth=1) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("clusters", [1, 2, 8])
def test_far_points_count_as_one_each(clusters: int) -> None:
    points = np.repeat(100 * np.eye(8)[:clusters], 5, axis=0)
    found = diffusion_spectral_entropy(points, bandwidth=1)
    assert found == pytest.approx(math.log2(clusters), abs=1e-10)


def test_does_not_change_with_rotation_shift_or_order() -> None:
    features = golden_x40()
    expected = diffusion_spectral_entropy(features, bandwidth=1)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    for same in (features @ rotation, features + 1e3, features[permutation(40, "test")]):
        assert diffusion_spectral_entropy(same, bandwidth=1) == pytest.approx(expected, rel=1e-9)
    scaled = diffusion_spectral_entropy(3 * features, bandwidth=3)
    assert scaled == pytest.approx(expected, rel=1e-12)
    single = diffusion_spectral_entropy(features.astype(np.float32), bandwidth=1)
    assert single == pytest.approx(expected, rel=1e-5)
    assert type(single) is float


def clusters_on_sphere(clusters: int, *, count: int = 400) -> Doubles:
    return unit_vectors(clusters, 64)[np.arange(count) % clusters]


def test_the_panels_bandwidth_tells_clusters_and_dimensions_apart() -> None:
    def entropies(configurations: list[Doubles]) -> list[float]:
        return [
            diffusion_spectral_entropy(features, bandwidth=UNIT_SPHERE_BANDWIDTH)
            for features in configurations
        ]

    by_clusters = entropies([clusters_on_sphere(clusters) for clusters in (1, 2, 10, 50)])
    assert by_clusters[0] == pytest.approx(0, abs=1e-9)
    assert by_clusters[1:3] == pytest.approx([1, math.log2(10)], abs=0.15)
    assert by_clusters[3] > by_clusters[2] + 1.5

    by_dimension = entropies([unit_vectors(400, width) for width in (2, 8, 64, 512)])
    steps = np.diff([0.0, *by_dimension, math.log2(400)])
    assert min(steps) > 0.2


def slow_dsmi(features: Doubles, labels: list[int], *, seed: int, draws: int) -> float:
    total = 0.0
    for label in set(labels):
        members = [i for i, other in enumerate(labels) if other == label]
        gains = []
        for draw in range(draws):
            some = permutation(len(labels), "dsmi", seed, label, draw)[: len(members)]
            assert len(set(some.tolist())) == len(members)
            gains.append(
                slow_entropy(features[some], bandwidth=1, power=1)
                - slow_entropy(features[members], bandwidth=1, power=1)
            )
        total += len(members) / len(labels) * sum(gains) / draws
    return total


def golden_labels() -> Labels:
    return np.arange(40) // 20


def test_dsmi_is_the_authors_up_to_the_draws() -> None:
    found = dsmi(golden_x40(), golden_labels(), bandwidth=1, seed=0, draws=100)
    expected = GOLDEN["dsmi_X40_labels_sigma1_official_seed0"]
    assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("draws", [1, 3])
def test_dsmi_equals_the_slow_computation(draws: int) -> None:
    features = golden_x40()[:24]
    labels = np.array([-1] * 4 + [0] * 1 + [5] * 19)
    found = dsmi(features, labels, bandwidth=1, seed=3, draws=draws)
    expected = slow_dsmi(features, labels.tolist(), seed=3, draws=draws)
    assert found == pytest.approx(expected, rel=1e-9)
    assert type(found) is float


def test_dsmi_is_high_for_labels_that_matter_and_low_for_others() -> None:
    features = np.repeat(100 * np.eye(4), 25, axis=0)
    rows = np.arange(100)
    assert dsmi(features, rows // 25, bandwidth=1, seed=0) == pytest.approx(2, abs=0.1)
    assert dsmi(features, rows % 4, bandwidth=1, seed=0) == pytest.approx(0, abs=0.1)
    assert dsmi(features, np.zeros(100, int), bandwidth=1, seed=0) == 0


def test_dsmi_depends_on_the_seed_only_through_the_draws() -> None:
    values = [dsmi(golden_x40(), golden_labels(), bandwidth=1, seed=s) for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert values[0] == pytest.approx(values[2], abs=0.1)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, math.nan])
def test_a_bandwidth_that_is_none_is_refused(bandwidth: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        diffusion_spectral_entropy(golden_x40(), bandwidth=bandwidth)
    with pytest.raises(ValueError, match="above 0"):
        dsmi(golden_x40(), golden_labels(), bandwidth=bandwidth, seed=0)


def test_other_input_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        diffusion_spectral_entropy(golden_x40(), bandwidth=1, power=0)
    with pytest.raises(ValueError, match="NaN"):
        diffusion_spectral_entropy(np.full((3, 2), np.nan), bandwidth=1)
    with pytest.raises(ValueError, match="features must be"):
        diffusion_spectral_entropy(np.ones(3), bandwidth=1)
    with pytest.raises(ValueError, match="labels must be"):
        dsmi(golden_x40(), golden_labels()[1:], bandwidth=1, seed=0)
    with pytest.raises(ValueError, match="draws"):
        dsmi(golden_x40(), golden_labels(), bandwidth=1, seed=0, draws=0)
