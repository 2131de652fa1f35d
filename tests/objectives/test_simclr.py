"""NT-Xent against a slow loop and golden values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.objectives.simclr import SimCLRConfig, nt_xent
from pipeline.pairs.weighting import uniform_weights, weighted_total

pytestmark = pytest.mark.fast

FIXTURES = Path(__file__).parent.parent / "fixtures"
GOLDEN = json.loads((FIXTURES / "golden.json").read_text())["golden"]


def golden_inputs() -> Tensor:
    """The unit rows A and B of the golden file; (2, 8, 6) float64."""
    n = torch.arange(8, dtype=torch.float64)[:, None]
    d = torch.arange(6, dtype=torch.float64)[None]
    z1 = torch.sin(1.0 + 1.7 * n + 0.9 * d + 0.13 * n * d)
    z2 = z1 + 0.3 * torch.cos(0.4 + 2.1 * n - 1.1 * d)
    return F.normalize(torch.stack([z1, z2]), dim=-1)


def slow_nt_xent(z: Tensor, temperature: float) -> Tensor:
    """Equation 1 of the SimCLR paper, one pair at a time."""
    views, batch, _ = z.shape
    rows = [(v, i) for v in range(views) for i in range(batch)]
    losses = torch.zeros(views, batch, dtype=z.dtype)
    for v, i in rows:
        others = [
            math.exp(float(z[v, i] @ z[w, k]) / temperature) for w, k in rows if (w, k) != (v, i)
        ]
        partner = float(z[v, i] @ z[1 - v, i]) / temperature
        losses[v, i] = math.log(math.fsum(others)) - partner
    return losses


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_equals_the_golden_values(temperature: float) -> None:
    loss = nt_xent(golden_inputs(), temperature=temperature)
    assert loss.mean().item() == pytest.approx(GOLDEN[f"ntxent_tau{temperature}"], rel=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_equals_the_slow_loop_pair_by_pair(batch: int, temperature: float) -> None:
    z = torch.randn(
        2, batch, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(batch)
    )
    z = F.normalize(z, dim=-1)
    assert torch.allclose(nt_xent(z, temperature=temperature), slow_nt_xent(z, temperature))


def test_gradient_equals_finite_differences() -> None:
    z = golden_inputs().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: nt_xent(x, temperature=0.2), z)


def test_one_pair_has_nothing_to_confuse_it_with() -> None:
    z = F.normalize(torch.randn(2, 1, 4, dtype=torch.float64), dim=-1)
    assert torch.equal(nt_xent(z, temperature=0.1), torch.zeros(2, 1, dtype=torch.float64))


def test_similarities_stay_in_float32_under_autocast() -> None:
    objective = SimCLRConfig(projector=(16, 8)).build(4)
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective(torch.randn(2, 6, 4))
    assert losses.loss.dtype == torch.float32
    assert losses.projections.dtype == torch.float32


def test_autocast_does_not_round_similarities() -> None:
    z = golden_inputs()
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(z.float(), temperature=0.05)
    assert torch.allclose(loss.double(), nt_xent(z, temperature=0.05), atol=1e-5)


def test_pair_losses_have_the_shapes_of_the_contract() -> None:
    losses = SimCLRConfig(projector=(16, 8)).build(4)(torch.randn(2, 6, 4))
    assert losses.loss.shape == (2, 6)
    assert losses.evidence.shape == (6,)
    assert losses.projections.shape == (2, 6, 8)
    assert not losses.evidence.requires_grad


def test_uniform_weights_give_the_mean_loss() -> None:
    losses = SimCLRConfig(projector=(16, 8)).build(4)(torch.randn(2, 6, 4))
    total = weighted_total(losses, uniform_weights(losses))
    assert torch.allclose(total, losses.loss.mean())
