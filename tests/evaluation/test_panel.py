"""The panel equals its parts, and does not break when features do."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.evaluation.panel import measures as panel
from pipeline.evaluation.panel.diffusion_entropy import (
    UNIT_SPHERE_BANDWIDTH,
    diffusion_spectral_entropy,
    dsmi,
)
from pipeline.evaluation.panel.hypersphere import (
    alignment,
    dead_dimensions,
    spread,
    tolerance,
    uniformity,
)
from pipeline.evaluation.panel.intrinsic_dimension import idest
from pipeline.evaluation.panel.lidar import lidar
from pipeline.evaluation.panel.measures import label_free_panel
from pipeline.evaluation.panel.spectrum import alpha_req, rank_me, von_neumann_entropy
from pipeline.randomness import permutation

pytestmark = pytest.mark.fast

Doubles = npt.NDArray[np.float64]

ALWAYS = [
    "rankme",
    "alpha_req",
    "von_neumann_entropy",
    "lidar",
    "idest",
    "uniformity",
    "alignment",
    "spread_mean",
    "dead_dimensions",
    "diffusion_entropy",
]


def views_of(samples: int, *, seed: int = 0) -> Doubles:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(samples, 1, 12)) + 0.3 * generator.normal(size=(samples, 3, 12))


def test_equals_its_parts_on_the_first_view() -> None:
    views, labels = views_of(60), np.arange(60) % 4
    first = views[:, 0]
    unit = first / np.linalg.norm(first, axis=1, keepdims=True)
    found = label_free_panel(views, labels, seed=5)
    entropy = diffusion_spectral_entropy(unit, bandwidth=UNIT_SPHERE_BANDWIDTH)
    assert found.pop("diffusion_entropy") == pytest.approx(entropy, rel=1e-12)
    drawn = permutation(60, "label-free panel", 5)
    information = dsmi(unit[drawn], labels[drawn], bandwidth=UNIT_SPHERE_BANDWIDTH, seed=5)
    assert found.pop("dsmi") == pytest.approx(information, rel=1e-12)
    assert found == {
        "rankme": rank_me(first),
        "alpha_req": alpha_req(first),
        "von_neumann_entropy": von_neumann_entropy(first),
        "lidar": lidar(views),
        "idest": idest(first, seed=5),
        "uniformity": uniformity(first),
        "alignment": alignment(views),
        "spread_mean": float(spread(first).mean()),
        "dead_dimensions": dead_dimensions(first),
        "tolerance": tolerance(first, labels),
    }


def test_labels_add_measures_and_change_none() -> None:
    views = views_of(40)
    without = label_free_panel(views, seed=0)
    found = label_free_panel(views, np.arange(40) % 2, seed=0)
    assert list(without) == ALWAYS
    assert list(found) == [*ALWAYS, "tolerance", "dsmi"]
    assert {name: found[name] for name in without} == without
    assert {type(value) for value in found.values()} == {float}


def test_diffusion_looks_at_a_bounded_number_of_samples_drawn_by_the_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(panel, "_DIFFUSION_SAMPLES", 16)
    views, labels = views_of(200), np.arange(200) // 100
    views[:100] += 3
    panels = [label_free_panel(views, labels, seed=seed) for seed in (0, 0, 1)]
    assert panels[0] == panels[1]
    changed = {name for name in panels[0] if panels[0][name] != panels[2][name]}
    assert changed == {"diffusion_entropy", "dsmi", "idest"}
    assert panels[0]["diffusion_entropy"] <= math.log2(16)
    assert panels[0]["dsmi"] > 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.0, 0.1, 30.0])
def test_equal_features_have_the_values_that_are_promised(
    dtype: npt.DTypeLike, scale: float
) -> None:
    row = np.random.default_rng(0).normal(size=12)
    views = np.tile(scale * row, (20, 2, 1)).astype(dtype)
    found = label_free_panel(views, np.arange(20) % 2, seed=0)
    assert math.isnan(found.pop("alpha_req"))
    assert math.isnan(found.pop("idest"))
    expected = dict.fromkeys(found, 0.0) | {"dead_dimensions": 1.0}
    if scale:
        expected |= {"rankme": 1.0, "tolerance": 1.0}
    assert found == pytest.approx(expected, abs=1e-4)


def test_two_samples_are_enough() -> None:
    found = label_free_panel(views_of(2), np.array([0, 1]), seed=0)
    nothing = {name for name, value in found.items() if not math.isfinite(value)}
    assert nothing == {"alpha_req", "idest", "tolerance"}


def test_float32_equals_float64() -> None:
    views, labels = views_of(50), np.arange(50) % 3
    single = label_free_panel(views.astype(np.float32), labels, seed=0)
    double = label_free_panel(views, labels, seed=0)
    assert single == pytest.approx(double, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("shape", [(6, 5), (1, 2, 5), (6, 1, 5), (6, 2, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="views must be"):
        label_free_panel(np.ones(shape), seed=0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_view_that_is_not_finite_is_refused(value: float) -> None:
    views = views_of(6)
    views[5, 2, 11] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        label_free_panel(views, seed=0)


def test_other_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="labels must be 6 integers"):
        label_free_panel(views_of(6), np.arange(5), seed=0)
