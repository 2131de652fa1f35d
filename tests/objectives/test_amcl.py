"""AMCL against slow loops, and the calculus of its temperatures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.objectives.base import EncodedViews
from pipeline.objectives.parts.pair_temperature import PairTemperature, omega
from tests.objectives.cases import OBJECTIVES, build, encoded, noise, total, unit

pytestmark = pytest.mark.fast

_BETA = 0.3


def made(base: str, **settings: Any) -> Any:
    section = {**OBJECTIVES[f"amcl over {base}"], "regularisation": _BETA, **settings}
    return build(section).eval()


def heads_of(objective: Any, features: Tensor) -> Tensor:
    """Unit projections (V, B, C, P)."""
    return unit(objective.projector(features.flatten(0, 1)).unflatten(0, features.shape[:2]))


def slow_tau(objective: Any, first: Tensor, second: Tensor) -> Tensor:
    phi = objective.pair_temperature.phi
    score = phi(first) @ phi(second)
    return 0.05 + 1.95 / (1 + torch.exp(score))


def slow_omega(tau: Tensor, width: int) -> Tensor:
    return width / 2 * torch.log(tau) + 1 / tau


def slow_contrast(
    objective: Any, anchor: Tensor, positive: Tensor, negatives: list[Tensor], top_k: int
) -> Tensor:
    """One anchor of one head."""
    nearest = sorted(negatives, key=lambda key: -float((anchor @ key).detach()))[:top_k]
    tau = slow_tau(objective, anchor, positive)
    loss = -(anchor @ positive) / tau + _BETA * slow_omega(tau, 8)
    for key in nearest:
        tau = slow_tau(objective, anchor, key)
        loss = loss + ((anchor @ key) / tau - _BETA * slow_omega(tau, 8)) / top_k
    return loss


@pytest.mark.parametrize("top_k", [1, 3])
def test_over_simclr_it_equals_a_slow_loop(top_k: int) -> None:
    objective = made("simclr", top_k=top_k)
    features = noise(3, 4, 6)
    z = heads_of(objective, features)
    found = objective(EncodedViews(features=features)).loss
    for v in range(3):
        for i in range(4):
            expected = torch.zeros((), dtype=torch.float64)
            partners = [g for g in range(2) if g != v]
            for c in range(2):
                others = [z[g, k, c] for g in range(2) for k in range(4) if k != i]
                for g in partners:
                    expected = expected + slow_contrast(
                        objective, z[v, i, c], z[g, i, c], others, top_k
                    ) / len(partners)
            torch.testing.assert_close(found[v, i], expected)


def test_over_moco_it_equals_a_slow_loop() -> None:
    objective = made("moco")
    views = encoded(noise(2, 8, 6))
    q, k = heads_of(objective, views.features), heads_of(objective, views.targets)
    queue = objective.queue.keys.unflatten(2, (2, 8))
    torch.testing.assert_close(queue.norm(dim=-1), torch.ones(2, 16, 2, dtype=torch.float64))
    found = objective(views).loss
    for v in range(2):
        for i in range(8):
            expected = sum(
                slow_contrast(objective, q[v, i, c], k[1 - v, i, c], list(queue[1 - v, :, c]), 3)
                for c in range(2)
            )
            torch.testing.assert_close(found[v, i], expected)


def test_over_simsiam_it_equals_a_slow_loop() -> None:
    objective = made("simsiam")
    features = noise(2, 8, 6)
    z = objective.projector(features.flatten(0, 1))
    p = unit(objective.predictor(z)).unflatten(0, (2, 8))
    t = unit(z).unflatten(0, (2, 8))
    found = objective(EncodedViews(features=features)).loss
    for i in range(8):
        expected = torch.zeros((), dtype=torch.float64)
        for c in range(2):
            for v in range(2):
                tau = slow_tau(objective, p[v, i, c], t[1 - v, i, c])
                cosine = p[v, i, c] @ t[1 - v, i, c]
                expected = expected - cosine / (2 * tau) + _BETA * slow_omega(tau, 8)
        torch.testing.assert_close(found[:, i].mean(), expected)


def test_over_barlow_it_equals_a_slow_loop() -> None:
    objective = made("barlow")
    features = noise(2, 8, 6)
    z = objective.projector(features.flatten(0, 1)).unflatten(0, (2, 8))
    expected = torch.zeros((), dtype=torch.float64)
    for c in range(2):
        deviations = z[:, :, c] - z[:, :, c].mean(dim=1, keepdim=True)
        variance = deviations.square().mean(dim=1, keepdim=True)
        first, second = deviations / (variance + 1e-5).sqrt() / 8**0.5
        for i in range(8):
            for j in range(8):
                cosine = first[:, i] @ second[:, j]
                tau = slow_tau(objective, first[:, i], second[:, j])
                cost = _BETA * slow_omega(tau, 8)
                if i == j:
                    expected = expected + (1 - cosine / tau) ** 2 + cost
                else:
                    expected = expected + 0.005 * cosine**2 / tau - cost
    torch.testing.assert_close(total(objective(EncodedViews(features=features))), expected)


@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.5, 0.9])
def test_what_agreement_and_its_temperature_cost_is_least_at_twice_the_distance(
    cosine: float,
) -> None:
    """With beta = 1, at 2 (1 - s) / d: 0.0078125 for s = 0.5 and d = 128."""
    tau = torch.logspace(-4, 1, 200_001, dtype=torch.float64)
    cost = -cosine / tau + omega(tau, width=128)
    assert tau[cost.argmin()].item() == pytest.approx(2 * (1 - cosine) / 128, rel=1e-4)


def test_temperatures_keep_to_their_bounds_and_fall_with_agreement() -> None:
    torch.manual_seed(0)
    temperature = PairTemperature(width=4, hidden=3, least=1e-5, most=2.0)
    found = temperature.between(torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4], dtype=torch.float64))
    assert found[[0, -1]].tolist() == pytest.approx([2.0, 1e-5])
    assert (found.diff() < 0).all()
    assert found[2].item() == pytest.approx(1.000005)


def test_without_a_floor_the_loss_of_positives_has_no_minimum() -> None:
    """Which is why there is one: with a small beta it falls to -(s - beta) / tau."""
    tau = torch.tensor([0.05, 1e-3, 1e-5], dtype=torch.float64)
    losses = -0.9 / tau + 1e-4 * omega(tau, width=128)
    assert losses[-1] < -8e4
    assert (losses.diff() < 0).all()


def test_with_one_head_one_temperature_and_one_negative_it_is_a_triplets_loss() -> None:
    """(nearest - own) / tau: the limit of InfoNCE at low temperatures, but for its hinge."""
    objective = made("simclr", heads=1, top_k=1, regularisation=0.0)
    for weight in objective.pair_temperature.phi.parameters():
        weight.data.zero_()
    features = noise(2, 6, 6)
    first, second = heads_of(objective, features)[:, :, 0]
    cosines = first @ torch.cat([first, second]).T
    own = cosines.diagonal(6).clone()
    cosines.diagonal().fill_(-2)
    cosines.diagonal(6).fill_(-2)
    tau = 0.05 + 1.95 / 2
    found = objective(EncodedViews(features=features)).loss[0]
    torch.testing.assert_close(found, (cosines.max(dim=1).values - own) / tau)


def test_temperatures_are_logged_for_both_signs_of_pairs() -> None:
    logs = made("simclr")(encoded(noise(2, 8, 6))).logs
    for sign in ("positive", "negative"):
        least, mean, most = (
            float(logs[f"temperature_{sign}{end}"]) for end in ("_least", "", "_most")
        )
        assert 0.05 <= least <= mean <= most <= 2


@pytest.mark.parametrize("base", ["simclr", "moco", "simsiam", "barlow"])
def test_a_head_is_that_of_what_it_is_built_over(base: str) -> None:
    """Over SimCLR without its normalised output, all projections fall into a cone."""
    widths = {"projector": [16, 8]}
    (head, *_) = build({"kind": "amcl", "base": base, **widths}).projector.heads
    own = build({"kind": base, **widths}).projector
    assert [str(layer) for layer in head] == [str(layer) for layer in own]
