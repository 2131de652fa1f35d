"""LeJEPA: SIGReg against quadrature, known distributions and lightly's module."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from lightly.loss import LeJEPALoss, SIGReg
from scipy.integrate import quad
from torch import Tensor

from pipeline.objectives.base import EncodedViews
from pipeline.objectives.parts.sigreg import random_slices, sigreg
from tests.objectives.cases import BATCH, build, noise, total, without_heads

pytestmark = pytest.mark.fast

SECTION = {"kind": "lejepa", "sigreg": 0.2, "slices": 16, "projector": [6]}
POINTS = [3 * number / 16 for number in range(17)]


def slow_sigreg(z: Tensor, slices: Tensor) -> float:
    """Equation by equation: one slice, one point and one sample after the other."""
    found = []
    for direction in slices.T.tolist():
        y = [sum(a * b for a, b in zip(row, direction, strict=True)) for row in z.tolist()]
        values = []
        for t in POINTS:
            phi = sum(complex(math.cos(t * v), math.sin(t * v)) for v in y) / len(y)
            values.append(abs(phi - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2))
        found.append(len(y) * 2 * float(np.trapezoid(values, POINTS)))
    return float(np.mean(found))


def test_it_is_the_statistic_of_the_paper() -> None:
    z, slices = noise(2, 9, 6) * 1.3, random_slices(6, 5, seed=1).double()
    expected = [slow_sigreg(view, slices) for view in z]
    assert sigreg(z, slices).tolist() == pytest.approx(expected, rel=1e-6)


def test_its_gradient_equals_finite_differences() -> None:
    slices = random_slices(5, 7, seed=0).double()
    z = noise(2, 6, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: sigreg(z, slices), z)


@pytest.mark.parametrize("samples", [64, 512])
def test_normal_samples_give_1_0525_whatever_their_number(samples: int) -> None:
    values = torch.cat(
        [
            sigreg(noise(1, samples, 16, seed=seed), random_slices(16, 256, seed=seed).double())
            for seed in range(200)
        ]
    )
    error = float(values.std()) / math.sqrt(len(values))
    assert float(values.mean()) == pytest.approx(1.0525, abs=4 * error)
    assert error < 0.02


def test_a_collapse_costs_0_402_for_each_sample() -> None:
    slices = random_slices(8, 4, seed=0).double()
    value = sigreg(torch.zeros(1, 50, 8, dtype=torch.float64), slices)
    assert float(value) / 50 == pytest.approx(0.40205, abs=1e-5)


@pytest.mark.parametrize(
    ("deviation", "cost"), [(0.5, 0.15119), (0.9, 0.005144), (1.1, 0.004505), (2.0, 0.23609)]
)
def test_another_deviation_costs_what_it_should(deviation: float, cost: float) -> None:
    """For each sample, where there are many; and the integral that the sum stands for."""
    quantiles = torch.special.ndtri((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)
    value = sigreg(deviation * quantiles[None, :, None], torch.ones(1, 1, dtype=torch.float64))
    assert float(value) / 20_000 == pytest.approx(cost, rel=2e-3)
    integral, _ = quad(
        lambda t: (
            2
            * (math.exp(-((deviation * t) ** 2) / 2) - math.exp(-t * t / 2)) ** 2
            * math.exp(-t * t / 2)
        ),
        0,
        3,
    )
    assert integral == pytest.approx(cost, rel=0.01)


def test_slices_have_unit_length_and_follow_the_seed() -> None:
    slices = random_slices(7, 11, seed=3)
    torch.testing.assert_close(slices.norm(dim=0), torch.ones(11))
    assert torch.equal(slices, random_slices(7, 11, seed=3))
    assert not torch.equal(slices, random_slices(7, 11, seed=4))


@pytest.mark.parametrize("local", [1, 3])
def test_it_is_lightlys_loss_with_equal_slices(local: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features = noise(2 + local, BATCH, 6).requires_grad_()
    objective = without_heads(SECTION)
    found = total(objective(EncodedViews(features=features, step_seed=9)))
    slices = random_slices(6, 16, seed=9).double()
    monkeypatch.setattr(SIGReg, "_generate_unit_vectors", lambda *_: slices)
    loss = LeJEPALoss(lambda_param=0.2).double()
    expected = loss(global_proj=features[:2], local_proj=features[2:])
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    ours, theirs = (torch.autograd.grad(value, features)[0] for value in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("global_views", [2, 3, 5])
def test_views_agree_with_the_mean_of_the_global_ones(global_views: int) -> None:
    z = noise(5, BATCH, 6)
    losses = without_heads(SECTION)(EncodedViews(features=z, global_views=global_views)).loss
    for sample in range(BATCH):
        centre = z[:global_views, sample].mean(dim=0)
        for view in range(5):
            distance = float((z[view, sample] - centre).square().mean())
            assert float(losses[view, sample]) == pytest.approx(0.8 * distance)


def test_each_view_is_normal_on_its_own() -> None:
    """Shifted views that make a normal cloud together are not the same as views that are."""
    near, far = noise(1, 400, 6), noise(1, 400, 6, seed=2)
    objective = without_heads(SECTION)

    def term(views: Tensor) -> float:
        return objective(EncodedViews(features=views)).terms["sigreg"].item()

    shift = torch.tensor([2.0, 0, 0, 0, 0, 0], dtype=torch.float64)
    assert term(torch.cat([near + shift, far - shift])) > 5 * term(torch.cat([near, far]))


def test_every_step_looks_in_other_directions() -> None:
    objective = build(SECTION)
    z = noise(2, BATCH, 6)
    first, again, other = (
        objective(EncodedViews(features=z, step_seed=seed)).terms["sigreg"].item()
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
