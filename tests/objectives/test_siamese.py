"""BYOL, SimSiam, UniGrad and Barlow Twins: slow loops and golden values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.objectives.barlow import cross_correlation, cross_correlation_losses
from pipeline.objectives.base import EncodedViews
from pipeline.objectives.byol import negative_cosine
from tests.objectives.cases import (
    GOLDEN,
    OBJECTIVES,
    build,
    encoded,
    golden_inputs,
    noise,
    total,
    unit,
    without_heads,
)

pytestmark = pytest.mark.fast


def test_byol_equals_the_golden_value() -> None:
    z = golden_inputs()
    objective = without_heads({"kind": "byol"})
    losses = objective(EncodedViews(features=z, targets=z))
    assert losses.loss.mean().item() == pytest.approx(GOLDEN["byol_2-2cos"], rel=1e-12)


def test_simsiam_equals_the_golden_value() -> None:
    losses = without_heads({"kind": "simsiam"})(EncodedViews(features=golden_inputs()))
    assert losses.loss.mean().item() == pytest.approx(GOLDEN["simsiam_negcos"], rel=1e-12)


def test_cosines_with_targets_equal_a_slow_loop() -> None:
    predictions, targets = noise(4, 3, 5), noise(2, 3, 5, seed=1)
    found = negative_cosine(predictions, targets)
    for v in range(4):
        for i in range(3):
            cosines = [
                float(F.cosine_similarity(predictions[v, i], targets[g, i], dim=0))
                for g in range(2)
                if g != v
            ]
            assert found[v, i].item() == pytest.approx(-sum(cosines) / len(cosines), rel=1e-12)


@pytest.mark.parametrize("name", ["simsiam", "amcl over simsiam"])
def test_no_gradient_flows_through_the_targets(name: str) -> None:
    """The gradient is that of predictions against targets which stay where they are."""
    objective = build(OBJECTIVES[name]).eval()
    features = noise(2, 8, 6).requires_grad_()
    (found,) = torch.autograd.grad(total(objective(encoded(features))), features)
    step = 1e-6 * noise(2, 8, 6, seed=3)
    frozen = objective.projector(features.detach().flatten(0, 1)).unflatten(0, (2, 8))

    def with_frozen_targets(moved: Tensor) -> float:
        z = objective.projector(moved.flatten(0, 1))
        p = unit(objective.predictor(z)).unflatten(0, (2, 8))
        t = unit(frozen).flip(0)
        cosines = (p * t).sum(-1)
        if name == "simsiam":
            return float(-cosines.mean())
        embed = objective.pair_temperature.embed
        tau = objective.pair_temperature.between((embed(p) * embed(t)).sum(-1))
        return float((-cosines / tau + 2 * objective.cost(tau)).sum(-1).mean())

    with torch.no_grad():
        slope = with_frozen_targets(features + step) - with_frozen_targets(features - step)
    assert slope / 2 == pytest.approx(float((found * step).sum()), rel=1e-6)


def test_the_first_step_of_unigrad_equals_the_golden_values() -> None:
    """The official surrogate counts the decorrelation twice, and has the same gradient."""
    z = unit(golden_inputs()).requires_grad_()
    losses = without_heads({"kind": "unigrad", "ema": None})(EncodedViews(features=z))
    surrogate = total(losses) + losses.terms["decorrelation"]
    golden = GOLDEN["unigrad_loss_lambda100_firststep"]
    assert surrogate.item() == pytest.approx(golden, rel=1e-12)
    (gradient,) = torch.autograd.grad(total(losses), z)
    with torch.no_grad():
        correlation = torch.einsum("vnd,vne->de", z, z) / 16
        by_unit = (-z.flip(0) + 100 * z @ correlation) / 16
        along = (by_unit * z).sum(dim=-1, keepdim=True) * z
    assert by_unit[0].norm().item() == pytest.approx(GOLDEN["unigrad_grad_z1_fro"], rel=1e-9)
    # The golden gradient is by unit vectors, ours is by what was normalised.
    torch.testing.assert_close(gradient, by_unit - along)


def test_unigrad_remembers_the_correlation_of_targets() -> None:
    objective = build(OBJECTIVES["unigrad"])
    expected = None
    for number in range(3):
        views = encoded(noise(2, 8, 6, seed=number))
        targets = unit(torch.cat([objective.target_projector(view) for view in views.targets]))
        batch = targets.T @ targets / 16
        expected = batch if expected is None else 0.5 * expected + 0.5 * batch
        losses = objective(views)
        z = unit(torch.cat([objective.project(view) for view in views.features]))
        term = 100 * torch.einsum("nd,de,ne->n", z, expected, z).mean() / 2
        torch.testing.assert_close(losses.terms["decorrelation"], term)
        objective.after_step(0.0)
        torch.testing.assert_close(objective.correlation, expected)


def test_barlow_equals_the_golden_values() -> None:
    on, off = cross_correlation_losses(golden_inputs())
    assert on.item() == pytest.approx(GOLDEN["barlow_on"], rel=1e-9)
    assert off.item() == pytest.approx(GOLDEN["barlow_off"], rel=1e-9)
    losses = without_heads({"kind": "barlow"})(EncodedViews(features=golden_inputs()))
    assert total(losses).item() == pytest.approx(GOLDEN["barlow_lambda0.0051"], rel=1e-9)


def test_the_correlation_equals_a_slow_loop() -> None:
    z = noise(2, 9, 4)
    found = cross_correlation(z)
    for i in range(4):
        for j in range(4):
            first, second = z[0, :, i], z[1, :, j]
            a = (first - first.mean()) / (first.var(correction=0) + 1e-5).sqrt()
            b = (second - second.mean()) / (second.var(correction=0) + 1e-5).sqrt()
            assert found[i, j].item() == pytest.approx(float((a * b).mean()), rel=1e-12)


def test_views_that_agree_in_every_dimension_and_repeat_none_cost_nothing() -> None:
    signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    on, off = cross_correlation_losses(torch.stack([signs, 3 * signs + 1]))
    assert on.item() == pytest.approx(0, abs=1e-9)
    assert off.item() == pytest.approx(0, abs=1e-9)
