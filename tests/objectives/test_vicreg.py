"""VICReg against golden values, a slow loop, and the whole batch on two ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.objectives.vicreg import (
    VICRegConfig,
    invariance,
    squared_covariance,
    variance_hinge,
)
from pipeline.pairs.weighting import uniform_weights, weighted_total

pytestmark = pytest.mark.fast

FIXTURES = Path(__file__).parent.parent / "fixtures"
GOLDEN = json.loads((FIXTURES / "golden.json").read_text())["golden"]


def golden_inputs() -> Tensor:
    """Z1 and Z2 of the golden file; (2, 8, 6) float64."""
    n = torch.arange(8, dtype=torch.float64)[:, None]
    d = torch.arange(6, dtype=torch.float64)[None]
    z1 = torch.sin(1.0 + 1.7 * n + 0.9 * d + 0.13 * n * d)
    return torch.stack([z1, z1 + 0.3 * torch.cos(0.4 + 2.1 * n - 1.1 * d)])


def identity_head(**weights: float) -> torch.nn.Module:
    """The objective with nothing between features and terms."""
    objective = VICRegConfig(kind="vicreg", projector=(6,), **weights).build(6).double()
    objective.projector = torch.nn.Identity()
    return objective


def test_the_terms_equal_the_golden_values() -> None:
    z = golden_inputs()
    assert invariance(z).mean().item() == pytest.approx(GOLDEN["vicreg_sim"], rel=1e-12)
    spread = torch.stack([variance_hinge(view) for view in z]).mean()
    assert spread.item() == pytest.approx(GOLDEN["vicreg_std_half_sum"], rel=1e-12)
    redundancy = torch.stack([squared_covariance(view) for view in z]).sum()
    assert redundancy.item() == pytest.approx(GOLDEN["vicreg_cov_sum"], rel=1e-12)


def test_the_total_equals_the_official_form() -> None:
    losses = identity_head()(golden_inputs())
    total = weighted_total(losses, uniform_weights(losses))
    assert total.item() == pytest.approx(GOLDEN["vicreg_official_25_25_1"], rel=1e-12)


def test_the_terms_equal_a_slow_loop() -> None:
    z = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean = [sum(float(row[i]) for row in z) / 9 for i in range(4)]

    def covariance(i: int, j: int) -> float:
        return sum((float(row[i]) - mean[i]) * (float(row[j]) - mean[j]) for row in z) / 8

    hinge = sum(max(0.0, 1 - (covariance(i, i) + 1e-4) ** 0.5) for i in range(4)) / 4
    redundancy = sum(covariance(i, j) ** 2 for i in range(4) for j in range(4) if i != j) / 4
    assert variance_hinge(z).item() == pytest.approx(hinge, rel=1e-12)
    assert squared_covariance(z).item() == pytest.approx(redundancy, rel=1e-12)


def test_gradient_equals_finite_differences() -> None:
    objective = identity_head(variance=3.0, covariance=2.0)

    def total(z: Tensor) -> Tensor:
        losses = objective(z)
        return weighted_total(losses, uniform_weights(losses))

    assert torch.autograd.gradcheck(total, golden_inputs().requires_grad_())


def test_collapsed_projections_cost_the_whole_hinge() -> None:
    assert variance_hinge(torch.ones(5, 3)).item() == pytest.approx(0.99)
    assert squared_covariance(torch.ones(5, 3)).item() == 0


def test_uncorrelated_dimensions_of_deviation_one_cost_nothing() -> None:
    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert variance_hinge(z).item() == 0
    assert squared_covariance(z).item() == 0


def test_weights_reach_the_pairs_and_the_terms() -> None:
    plain, double = identity_head(), identity_head(invariance=50.0, variance=50.0, covariance=2.0)
    one, two = plain(golden_inputs()), double(golden_inputs())
    assert torch.allclose(two.loss, 2 * one.loss)
    for name in ("variance", "covariance"):
        assert torch.allclose(two.terms[name], 2 * one.terms[name])
    assert set(identity_head(variance=0.0)(golden_inputs()).terms) == {"variance", "covariance"}


def test_statistics_stay_in_float32_under_autocast() -> None:
    objective = VICRegConfig(kind="vicreg", projector=(16, 8)).build(4)
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective(torch.randn(2, 6, 4))
    assert losses.loss.dtype == losses.terms["covariance"].dtype == torch.float32


def test_autocast_does_not_round_covariances() -> None:
    z = golden_inputs()[0]
    with torch.autocast("cpu", torch.bfloat16):
        redundancy = squared_covariance(z.float())
    assert redundancy.item() == pytest.approx(squared_covariance(z).item(), rel=1e-5)


def test_pair_losses_have_the_shapes_of_the_contract() -> None:
    losses = VICRegConfig(kind="vicreg", projector=(16, 8)).build(4)(torch.randn(2, 6, 4))
    assert losses.loss.shape == (2, 6)
    assert losses.evidence.shape == (6,)
    assert losses.projections.shape == (2, 6, 8)
    assert not losses.evidence.requires_grad
