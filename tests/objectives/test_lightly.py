"""lightly's losses as an outside oracle: values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss, VICRegLoss
from lightly.models.modules import heads
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn

from pipeline.encoders.configs.ema import EMAConfig
from pipeline.objectives.barlow import cross_correlation_losses
from pipeline.objectives.byol import negative_cosine
from pipeline.objectives.moco import queue_cross_entropy
from pipeline.objectives.simclr import nt_xent
from pipeline.objectives.vicreg import covariance, invariance, squared_covariance, variance_hinge
from tests.objectives.cases import BATCH, build, noise, unit

pytestmark = pytest.mark.fast


def ours_barlow(z: Tensor) -> Tensor:
    on, off = cross_correlation_losses(z)
    return on + 0.0051 * off


def theirs_barlow(z: Tensor) -> Tensor:
    loss: Tensor = BarlowTwinsLoss(lambda_param=0.0051)(*z)
    return loss


def ours_vicreg(z: Tensor) -> Tensor:
    hinge = torch.stack([variance_hinge(covariance(view)) for view in z]).mean()
    redundancy = torch.stack([squared_covariance(covariance(view)) for view in z]).sum()
    return 25 * invariance(*z).mean() + 25 * hinge + redundancy


def theirs_vicreg(z: Tensor) -> Tensor:
    loss: Tensor = VICRegLoss(eps=1e-4)(*z)
    return loss


PAIRS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "nt_xent": (
        lambda z: nt_xent(unit(z), temperature=0.3).mean(),
        lambda z: NTXentLoss(temperature=0.3)(*z),
    ),
    "negative cosine": (
        lambda z: negative_cosine(z, z).mean(),
        lambda z: sum(NegativeCosineSimilarity()(z[v], z[1 - v].detach()) for v in range(2)) / 2,
    ),
    "barlow": (ours_barlow, theirs_barlow),
    "vicreg": (ours_vicreg, theirs_vicreg),
}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS.values(), ids=PAIRS.keys())
def test_loss_and_gradient_are_lightlys(
    ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor]
) -> None:
    found, expected = (noise(2, 16, 7).requires_grad_() for _ in range(2))
    loss, reference = ours(found), theirs(expected)
    torch.testing.assert_close(loss, reference, rtol=1e-9, atol=1e-9)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-7, atol=1e-9)


def test_a_queue_is_lightlys_memory_bank() -> None:
    criterion = NTXentLoss(temperature=0.3, memory_bank_size=(12, 7)).double()
    criterion.memory_bank.bank = criterion.memory_bank.bank.double()
    queries, keys = noise(2, 4, 7).requires_grad_(), noise(2, 4, 7, seed=1)
    bank = criterion.memory_bank.bank.clone()
    reference = criterion(queries[0], keys[1])
    found = queue_cross_entropy(unit(queries), unit(keys), bank.expand(2, 12, 7), temperature=0.3)[
        0
    ].mean()
    torch.testing.assert_close(found, reference)
    ours, theirs = (torch.autograd.grad(loss, queries)[0][0] for loss in (found, reference))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("step", [0, 1, 50, 99])
def test_the_momentum_is_lightlys_schedule(step: int) -> None:
    config = EMAConfig(start=0.99, end=1.0)
    assert config.momentum(step / 99) == pytest.approx(cosine_schedule(step, 100, 0.99, 1.0))


HEADS: dict[str, tuple[Callable[[], nn.Module], list[int]]] = {
    "simclr": (lambda: heads.SimCLRProjectionHead(6, 16, 8), [16, 8]),
    "hard_contrastive": (lambda: heads.SimCLRProjectionHead(6, 16, 8), [16, 8]),
    "moco": (lambda: heads.MoCoProjectionHead(6, 16, 8), [16, 8]),
    "byol": (lambda: heads.BYOLProjectionHead(6, 16, 8), [16, 8]),
    "simsiam": (lambda: heads.SimSiamProjectionHead(6, 16, 8), [16, 16, 8]),
    "barlow": (lambda: heads.BarlowTwinsProjectionHead(6, 16, 8), [16, 16, 8]),
    "vicreg": (lambda: heads.VICRegProjectionHead(6, 16, 8), [16, 16, 8]),
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_has_lightlys_layers(kind: str) -> None:
    make, widths = HEADS[kind]
    theirs = make().double()
    ours = build({"kind": kind, "projector": widths}).projector
    for mine, other in zip(linears(ours), linears(theirs), strict=True):
        assert (mine.bias is None) == (other.bias is None)
        mine.load_state_dict(other.state_dict())
    features = noise(1, BATCH, 6)[0]
    torch.testing.assert_close(ours(features), theirs(features))


def linears(head: nn.Module) -> list[nn.Linear]:
    return [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
