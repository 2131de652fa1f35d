"""VICReg against golden values and a slow loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.objectives.base import EncodedViews, Objective
from pipeline.objectives.vicreg import (
    covariance,
    invariance,
    squared_covariance,
    variance_hinge,
)
from tests.objectives.cases import GOLDEN, golden_inputs, total, without_heads

pytestmark = pytest.mark.fast


def identity_head(**weights: float) -> Objective:
    """The objective with nothing between features and terms."""
    return without_heads({"kind": "vicreg", **weights})


def test_the_terms_equal_the_golden_values() -> None:
    z = golden_inputs()
    assert invariance(*z).mean().item() == pytest.approx(GOLDEN["vicreg_sim"], rel=1e-12)
    spread = torch.stack([variance_hinge(covariance(view)) for view in z]).mean()
    assert spread.item() == pytest.approx(GOLDEN["vicreg_std_half_sum"], rel=1e-12)
    redundancy = torch.stack([squared_covariance(covariance(view)) for view in z]).sum()
    assert redundancy.item() == pytest.approx(GOLDEN["vicreg_cov_sum"], rel=1e-12)


def test_the_total_equals_the_official_form() -> None:
    losses = identity_head()(EncodedViews(features=golden_inputs()))
    assert total(losses).item() == pytest.approx(GOLDEN["vicreg_official_25_25_1"], rel=1e-12)


def test_the_terms_equal_a_slow_loop() -> None:
    z = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean = [sum(float(row[i]) for row in z) / 9 for i in range(4)]

    def slow_covariance(i: int, j: int) -> float:
        return sum((float(row[i]) - mean[i]) * (float(row[j]) - mean[j]) for row in z) / 8

    hinge = sum(max(0.0, 1 - (slow_covariance(i, i) + 1e-4) ** 0.5) for i in range(4)) / 4
    redundancy = sum(slow_covariance(i, j) ** 2 for i in range(4) for j in range(4) if i != j) / 4
    assert variance_hinge(covariance(z)).item() == pytest.approx(hinge, rel=1e-12)
    assert squared_covariance(covariance(z)).item() == pytest.approx(redundancy, rel=1e-12)


def test_a_miner_is_shown_directions_and_not_lengths() -> None:
    """By distance a pair that is many times longer is as hard as others, alike as it may be."""
    z = golden_inputs()
    found = identity_head(invariance=2.0)(EncodedViews(features=z)).evidence
    for row, (one, other) in enumerate(zip(*z, strict=True)):
        cosine = (one @ other) / (one.norm() * other.norm())
        assert found[row].item() == pytest.approx(2 * (1 - cosine.item()), rel=1e-12)
    longer = z * torch.linspace(1, 9, z.shape[1]).double()[:, None]
    again = identity_head(invariance=2.0)(EncodedViews(features=longer)).evidence
    torch.testing.assert_close(again, found)


def test_gradient_equals_finite_differences() -> None:
    objective = identity_head(variance=3.0, covariance=2.0)

    def loss(z: Tensor) -> Tensor:
        return total(objective(EncodedViews(features=z)))

    assert torch.autograd.gradcheck(loss, golden_inputs().requires_grad_())


def test_collapsed_projections_cost_the_whole_hinge() -> None:
    assert variance_hinge(covariance(torch.ones(5, 3))).item() == pytest.approx(0.99)
    assert squared_covariance(covariance(torch.ones(5, 3))).item() == 0


def test_uncorrelated_dimensions_of_deviation_one_cost_nothing() -> None:
    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert variance_hinge(covariance(z)).item() == 0
    assert squared_covariance(covariance(z)).item() == 0


def test_weights_reach_the_pairs_and_the_terms() -> None:
    plain, double = identity_head(), identity_head(invariance=50.0, variance=50.0, covariance=2.0)
    views = EncodedViews(features=golden_inputs())
    one, two = plain(views), double(views)
    assert torch.allclose(two.loss, 2 * one.loss)
    for name in ("variance", "covariance"):
        assert torch.allclose(two.terms[name], 2 * one.terms[name])
    assert set(identity_head(variance=0.0)(views).terms) == {"variance", "covariance"}


def test_autocast_does_not_round_covariances() -> None:
    z = golden_inputs()[0]
    with torch.autocast("cpu", torch.bfloat16):
        redundancy = squared_covariance(covariance(z.float()))
    assert redundancy.item() == pytest.approx(squared_covariance(covariance(z)).item(), rel=1e-5)


def test_solo_learns_form_is_that_of_twice_the_variance() -> None:
    losses = identity_head(variance=50.0)(EncodedViews(features=golden_inputs()))
    assert total(losses).item() == pytest.approx(GOLDEN["vicreg_solo_25_25_1"], rel=1e-12)
