"""SimCLR, MoCo, MoCo v3 and the hard contrastive loss: slow loops, golden values, limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.objectives.hard_contrastive import hard_nt_xent
from pipeline.objectives.moco import queue_cross_entropy
from pipeline.objectives.mocov3 import batch_cross_entropy
from pipeline.objectives.parts.key_queue import KeyQueue
from pipeline.objectives.simclr import nt_xent
from tests.objectives.cases import (
    GOLDEN,
    OBJECTIVES,
    build,
    encoded,
    golden_inputs,
    noise,
    unit,
    without_heads,
)

pytestmark = pytest.mark.fast


def slow_cross_entropy(own: float, others: list[float], tau: float) -> float:
    """-log of the positive's share, by exponentials."""
    shares = [math.exp((other - own) / tau) for other in others]
    return math.log1p(math.fsum(shares))


def slow_nt_xent(z: Tensor, tau: float, *, hardest: float = 1.0) -> Tensor:
    """One pair at a time; positives are the global views other than the anchor."""
    views, batch, _ = z.shape
    losses = torch.zeros(views, batch, dtype=z.dtype)
    for v in range(views):
        for i in range(batch):
            others = [float(z[v, i] @ z[g, k]) for g in range(2) for k in range(batch) if k != i]
            others.sort(reverse=True)
            others = others[: math.ceil(hardest * len(others))]
            partners = [g for g in range(2) if g != v]
            losses[v, i] = sum(
                slow_cross_entropy(float(z[v, i] @ z[g, i]), others, tau) for g in partners
            ) / len(partners)
    return losses


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_nt_xent_equals_the_golden_values(tau: float) -> None:
    loss = nt_xent(unit(golden_inputs()), temperature=tau)
    assert loss.mean().item() == pytest.approx(GOLDEN[f"ntxent_tau{tau}"], rel=1e-12)


@pytest.mark.parametrize("views", [2, 5])
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("tau", [0.05, 0.2, 1.0])
def test_nt_xent_equals_the_slow_loop_pair_by_pair(views: int, batch: int, tau: float) -> None:
    z = unit(noise(views, batch, 5))
    assert torch.allclose(nt_xent(z, temperature=tau), slow_nt_xent(z, tau))


def test_the_gradient_of_nt_xent_equals_finite_differences() -> None:
    z = unit(golden_inputs()).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: nt_xent(x, temperature=0.2), z)


def test_the_gradient_by_a_learnt_temperature_equals_finite_differences() -> None:
    z = unit(golden_inputs())
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: nt_xent(z, temperature=t), tau)


def test_one_pair_has_nothing_to_confuse_it_with() -> None:
    assert not nt_xent(unit(noise(2, 1, 4)), temperature=0.1).any()


def test_autocast_does_not_round_similarities() -> None:
    z = unit(golden_inputs())
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(z.float(), temperature=0.05)
    assert torch.allclose(loss.double(), nt_xent(z, temperature=0.05), atol=1e-5)


def test_infonce_against_keys_equals_the_golden_value() -> None:
    """With a queue of the other samples' keys, each alone, MoCo is InfoNCE."""
    first, second = unit(golden_inputs())
    losses = [
        queue_cross_entropy(
            first[None, i : i + 1].expand(2, 1, 6),
            second[None, i : i + 1].expand(2, 1, 6),
            second[torch.arange(8) != i].expand(2, 7, 6),
            temperature=0.2,
        )[0, 0]
        for i in range(8)
    ]
    found = torch.stack(losses).mean().item()
    assert found == pytest.approx(GOLDEN["infonce_A_to_B_tau0.2"], rel=1e-12)


@pytest.mark.parametrize("views", [2, 4])
def test_moco_equals_a_slow_loop(views: int) -> None:
    queries, keys, queue = (
        unit(noise(*shape, seed=seed))
        for seed, shape in enumerate([(views, 3, 5), (2, 3, 5), (2, 6, 5)])
    )
    found = queue_cross_entropy(queries, keys, queue, temperature=0.3)
    for v in range(views):
        for i in range(3):
            losses = [
                slow_cross_entropy(
                    float(queries[v, i] @ keys[g, i]),
                    [float(queries[v, i] @ key) for key in queue[g]],
                    0.3,
                )
                for g in range(2)
                if g != v
            ]
            assert found[v, i].item() == pytest.approx(sum(losses) / len(losses), rel=1e-12)


def test_mocov3_equals_the_golden_value() -> None:
    """Which is the sum of both directions."""
    first, second = unit(golden_inputs())
    loss = batch_cross_entropy(
        torch.stack([first, second]), torch.stack([first, second]), temperature=0.2
    )
    assert 2 * loss.mean().item() == pytest.approx(GOLDEN["mocov3_sym_tau0.2_times2tau"], rel=1e-12)


@pytest.mark.parametrize(("agreement", "sign"), [(-1.0, 1), (1.0, -1)])
def test_a_learnt_temperature_goes_where_the_pairs_ask_it_to(agreement: float, sign: int) -> None:
    """Up where pairs disagree, down where they agree: for MoCo v3 as for SimCLR."""
    first = unit(noise(1, 16, 5))[0]
    z = torch.stack([first, agreement * first])
    for loss in (
        lambda tau: nt_xent(z, temperature=tau),
        lambda tau: batch_cross_entropy(z, z, temperature=tau),
    ):
        tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        loss(tau).mean().backward()
        assert tau.grad is not None
        assert -sign * float(tau.grad) > 0


def test_mocov3_equals_a_slow_loop() -> None:
    queries, keys = unit(noise(4, 3, 5)), unit(noise(2, 3, 5, seed=1))
    found = batch_cross_entropy(queries, keys, temperature=0.3)
    for v in range(4):
        for i in range(3):
            losses = [
                slow_cross_entropy(
                    float(queries[v, i] @ keys[g, i]),
                    [float(queries[v, i] @ keys[g, k]) for k in range(3) if k != i],
                    0.3,
                )
                for g in range(2)
                if g != v
            ]
            expected = 2 * 0.3 * sum(losses) / len(losses)
            assert found[v, i].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("hardest", [0.05, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("views", [2, 4])
def test_the_hard_loss_equals_a_slow_loop(views: int, hardest: float) -> None:
    z = unit(noise(views, 7, 5))
    found = hard_nt_xent(z, temperature=0.3, hardest=hardest)
    assert torch.allclose(found, slow_nt_xent(z, 0.3, hardest=hardest))


def test_the_hard_loss_with_all_negatives_is_nt_xent() -> None:
    z = unit(golden_inputs())
    hard = hard_nt_xent(z, temperature=0.3, hardest=1.0)
    torch.testing.assert_close(hard, nt_xent(z, temperature=0.3))


def test_negatives_that_do_not_count_get_no_gradient() -> None:
    z = unit(noise(2, 9, 5)).requires_grad_()
    loss = hard_nt_xent(z, temperature=0.3, hardest=1 / 16)[0, 0]
    (gradient,) = torch.autograd.grad(loss, z)
    touched = gradient.abs().sum(dim=-1) > 0
    # The anchor, its partner, and one negative.
    assert touched.sum() == 3
    assert touched[:, 0].all()


def test_at_low_temperatures_only_the_nearest_negative_counts() -> None:
    """Times tau the loss comes to max(0, nearest - own), a triplet's (Wang & Liu, 2021)."""
    z = unit(noise(2, 6, 4))
    tau = 1e-4
    cosines = z[0] @ torch.cat([z[0], z[1]]).T
    own = torch.einsum("bd,bd->b", z[0], z[1])
    for k in range(6):
        cosines[k, [k, k + 6]] = -2.0
    expected = (cosines.max(dim=1).values - own).clamp(min=0)
    torch.testing.assert_close(tau * nt_xent(z, temperature=tau)[0], expected, atol=1e-3, rtol=1e-3)


def test_at_high_temperatures_all_negatives_count_alike() -> None:
    """The gradient by similarities comes to the simple loss's (Wang & Liu, 2021)."""
    weights = build(OBJECTIVES["simclr"] | {"temperature": 1e4}).negative_weights(
        torch.linspace(-1, 1, 9, dtype=torch.float64)[None], 0.0
    )
    torch.testing.assert_close(
        weights, torch.full((1, 9), 1 / 9, dtype=torch.float64), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize(
    "section",
    [
        {"kind": "simclr", "temperature": 0.3},
        {"kind": "hard_contrastive", "temperature": 0.3, "hardest": 0.4},
    ],
)
def test_weights_of_negatives_are_the_derivative_by_their_similarities(
    section: dict[str, Any],
) -> None:
    """And add up to the pull on the positive: the relative penalty sums to 1."""
    negatives = (2 * torch.rand(4, 10, dtype=torch.float64) - 1).requires_grad_()
    own = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    count = math.ceil(section.get("hardest", 1.0) * 10)
    hard = negatives.topk(count, dim=1).values
    loss = torch.cat([own[:, None], hard], dim=1).div(0.3).log_softmax(dim=1)[:, 0].neg().sum()
    by_negatives, by_own = torch.autograd.grad(loss, (negatives, own))
    weights = build({**section, "projector": [4]}).negative_weights(negatives.detach(), 0.0)
    torch.testing.assert_close(weights, by_negatives / -by_own[:, None])


def test_the_queue_holds_the_last_keys_of_each_view_oldest_first_out() -> None:
    queue = KeyQueue(views=2, size=6, width=3)
    start = queue.keys.clone()
    steps = [noise(2, 2, 3, seed=seed).float() for seed in range(4)]
    for keys in steps:
        queue.offer(keys)
        before = queue.keys.clone()
        assert torch.equal(queue.keys, before)  # nothing moves before the step is done
        queue.advance()
        queue.advance()
    assert torch.equal(queue.keys[:, 0:2], steps[3])
    assert torch.equal(queue.keys[:, 2:4], steps[1])
    assert torch.equal(queue.keys[:, 4:6], steps[2])
    assert torch.allclose(start.norm(dim=-1), torch.ones(2, 6))


def test_moco_compares_with_the_keys_of_the_steps_before() -> None:
    section = {"kind": "moco", "queue": 8, "ema": {"start": 0.5}, "temperature": 0.2}
    objective = without_heads(section)
    objective.target_projector.follow = lambda *_: None
    views = [encoded(noise(2, 4, 6, seed=seed)) for seed in range(3)]
    for step in views[:2]:
        objective(step)
        objective.after_step(0.0)
    past = unit(torch.cat([step.targets for step in views[:2] if step.targets is not None], dim=1))
    features, targets = views[2].features, views[2].targets
    assert targets is not None
    expected = queue_cross_entropy(unit(features), unit(targets), past, temperature=0.2)
    torch.testing.assert_close(objective(views[2]).loss, expected)
