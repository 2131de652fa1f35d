"""Spectra of features against golden values, closed forms and slow eigenvalues."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.evaluation.panel.spectrum import alpha_req, rank_me, von_neumann_entropy

pytestmark = pytest.mark.fast

Doubles = npt.NDArray[np.float64]
Measure = Callable[[Doubles], float]

FIXTURES = Path(__file__).parent.parent / "fixtures"
GOLDEN = json.loads((FIXTURES / "golden.json").read_text())["golden"]

MEASURES: list[Measure] = [rank_me, alpha_req, von_neumann_entropy]
CENTRED: list[Measure] = [alpha_req, von_neumann_entropy]


def golden_z1() -> Doubles:
    n, d = np.arange(8)[:, None], np.arange(6)[None]
    return np.sin(1.0 + 1.7 * n + 0.9 * d + 0.13 * n * d)


def cloud(count: int, width: int, *, seed: int = 0) -> Doubles:
    return np.random.default_rng(seed).normal(size=(count, width))


def rotation(width: int) -> Doubles:
    return np.linalg.qr(cloud(width, width, seed=99))[0]


def with_eigenvalues(eigenvalues: Doubles, *, count: int, width: int) -> Doubles:
    """Features whose covariance has exactly these eigenvalues, and zeros."""
    columns = cloud(count, len(eigenvalues))
    columns = np.linalg.qr(columns - columns.mean(axis=0))[0]
    return columns * np.sqrt(eigenvalues * (count - 1)) @ rotation(width)[: len(eigenvalues)]


def slow_covariance_eigenvalues(features: Doubles) -> list[float]:
    rows = [row - sum(features) / len(features) for row in features]
    covariance = sum(np.outer(row, row) for row in rows) / (len(rows) - 1)
    return sorted(np.linalg.eigvals(covariance).real.tolist(), reverse=True)


def slow_rank_me(features: Doubles) -> float:
    squares = np.linalg.eigvals(features.T @ features).real.tolist()
    singular = [math.sqrt(max(square, 0.0)) for square in squares]
    shares = [value / math.fsum(singular) + 1e-7 for value in singular]
    return math.prod(share**-share for share in shares)


def slow_alpha_req(features: Doubles, *, first: int, last: int) -> float:
    """Weighted regression with an intercept, by its normal equations."""
    eigenvalues = slow_covariance_eigenvalues(features)
    left, right = np.zeros((2, 2)), np.zeros(2)
    for rank in range(first, last + 1):
        row = np.array([1.0, -math.log(rank)])
        left += np.outer(row, row) / rank
        right += row * math.log(eigenvalues[rank - 1]) / rank
    return float(np.linalg.solve(left, right)[1])


def slow_entropy(features: Doubles) -> float:
    eigenvalues = slow_covariance_eigenvalues(features)
    shares = [value / math.fsum(eigenvalues) for value in eigenvalues]
    return -math.fsum(share * math.log(share) for share in shares if share > 1e-14)


def test_entropy_equals_the_golden_value() -> None:
    assert von_neumann_entropy(golden_z1()) == pytest.approx(GOLDEN["vne_Z1_centred"], rel=1e-9)


@pytest.mark.parametrize(("count", "width"), [(8, 6), (40, 3), (60, 12), (130, 105)])
def test_equal_slow_computations(count: int, width: int) -> None:
    features = cloud(count, width) * np.linspace(0.1, 1, width) + 0.3
    assert rank_me(features) == pytest.approx(slow_rank_me(features), rel=1e-9)
    assert von_neumann_entropy(features) == pytest.approx(slow_entropy(features), rel=1e-9)
    first, last = (4, min(width, 100)) if width >= 6 else (1, width)
    expected = slow_alpha_req(features, first=first, last=last)
    assert alpha_req(features) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.5])
@pytest.mark.parametrize(("eigenvalues", "width"), [(3, 3), (5, 8), (6, 6), (40, 64), (110, 112)])
def test_alpha_of_a_power_law_is_its_exponent(
    exponent: float, eigenvalues: int, width: int
) -> None:
    law = np.arange(1, eigenvalues + 1) ** -exponent
    features = with_eigenvalues(law, count=120, width=width) + 5.0
    assert alpha_req(features) == pytest.approx(exponent, abs=1e-9)


def test_alpha_looks_at_ranks_4_to_100() -> None:
    law = np.arange(1, 141) ** -1.0
    law[:3] *= [1e4, 1e3, 1e2]
    law[100:] *= 1e-3
    assert alpha_req(with_eigenvalues(law, count=200, width=150)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("eigenvalues", [1, 2])
def test_alpha_of_two_eigenvalues_is_not_a_number(eigenvalues: int) -> None:
    assert math.isnan(alpha_req(with_eigenvalues(np.ones(eigenvalues), count=20, width=9)))


def test_isotropic_features_use_every_dimension() -> None:
    features = cloud(20_000, 16)
    assert rank_me(features) == pytest.approx(16, rel=1e-3)
    assert von_neumann_entropy(features) == pytest.approx(math.log(16), rel=1e-3)
    assert alpha_req(features) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("count", [2, 50])
def test_rank_one_features_use_one_dimension(count: int) -> None:
    features = np.outer(np.linspace(-1, 2, count), np.arange(1, 9))
    assert rank_me(features) == pytest.approx(1, abs=1e-4)
    assert von_neumann_entropy(features) == pytest.approx(0, abs=1e-12)
    assert math.isnan(alpha_req(features))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("noise", [False, True])
def test_rounding_does_not_hide_a_collapse(dtype: npt.DTypeLike, noise: bool) -> None:
    rows = np.tile(cloud(1, 64), (100, 1)).astype(dtype)
    if noise:
        rows = np.where(cloud(100, 64) > 0, np.nextafter(rows, 9, dtype=dtype), rows)
    assert rows.dtype == dtype
    assert rank_me(rows) == pytest.approx(1, abs=1e-3)
    assert von_neumann_entropy(rows) == 0
    assert math.isnan(alpha_req(rows))


def test_zeros_have_no_rank() -> None:
    zeros = np.zeros((9, 4))
    assert (rank_me(zeros), von_neumann_entropy(zeros)) == (0, 0)
    assert math.isnan(alpha_req(zeros))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("count", "width"), [(80, 24), (24, 80)])
def test_do_not_change_with_rotation_scale_or_order(
    measure: Measure, count: int, width: int
) -> None:
    features = cloud(count, width) * np.linspace(0.2, 1, width)
    expected = measure(features)
    assert measure(features @ rotation(width)) == pytest.approx(expected, rel=1e-9)
    assert measure(features * 1e-3) == pytest.approx(expected, rel=1e-9)
    assert measure(features[::-1]) == pytest.approx(expected, rel=1e-9)
    assert type(expected) is float


def test_only_rank_me_sees_a_shift() -> None:
    features = cloud(80, 24)
    for measure in CENTRED:
        assert measure(features + 7) == pytest.approx(measure(features), rel=1e-9)
    assert rank_me(features + 7) < rank_me(features) / 1.1


@pytest.mark.parametrize("measure", MEASURES)
def test_float32_equals_float64(measure: Measure) -> None:
    features = cloud(100, 16)
    expected = measure(features)
    assert measure(features.astype(np.float32)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    "features",
    [np.ones(3), np.ones((0, 3)), np.ones((3, 0)), np.ones((2, 3, 4)), np.ones((3, 3), int)],
)
def test_other_shapes_and_types_are_refused(measure: Measure, features: Doubles) -> None:
    with pytest.raises(ValueError, match="features must be"):
        measure(features)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(measure: Measure, value: float) -> None:
    features = cloud(5, 3)
    features[2, 1] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        measure(features)


@pytest.mark.parametrize("measure", CENTRED)
def test_one_sample_has_no_covariance(measure: Measure) -> None:
    with pytest.raises(ValueError, match="N >= 2"):
        measure(np.ones((1, 3)))
