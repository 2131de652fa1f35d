"""DBPM against a table of all losses of all epochs, and its values in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.objectives.base import PairLosses
from pipeline.pairs.base import Miner, Verdict
from pipeline.pairs.config import PairsConfig
from pipeline.pairs.history import SampleHistory
from pipeline.pairs.weighting import PairWeighting, weighted_total
from tests.objectives.cases import build, noise

pytestmark = pytest.mark.fast

CPU = torch.device("cpu")
SIMCLR = build({"kind": "simclr", "projector": [4]}).capabilities


def weighting(samples: int, *, epochs: int = 9, **sections: Any) -> PairWeighting:
    pairs = PairsConfig.model_validate(sections).build(SIMCLR)
    pairs.own({0: (0, samples)}, epochs=epochs, device=CPU)
    return pairs


def step(pairs: PairWeighting, evidence: Tensor, ids: Tensor, *, epoch: int) -> Tensor:
    """The weights (B,) of a step, which is then remembered."""
    losses = PairLosses(
        loss=evidence.expand(2, -1), evidence=evidence, projections=noise(2, len(evidence), 4)
    )
    weights = pairs.weights(losses, global_views=2, epoch=epoch, sample_id=ids)
    pairs.remember(losses, weights, epoch=epoch, sample_id=ids)
    assert torch.equal(weights.total[0], weights.total[1])
    return weights.total[0]


def table_of_weights(
    losses: np.ndarray, *, warm_up: int, history: str, weight: str, noisy: float, faulty: float
) -> np.ndarray:
    """(n, E) by equations 3.1 to 3.5 of the whole table of losses."""
    samples, epochs = losses.shape
    found = np.ones_like(losses)
    for e in range(warm_up, epochs):
        share = (1 + np.arange(e)) / epochs if history == "recency" else np.ones(e)
        means = (losses[:, :e] * share).sum(axis=1) / e
        mu, sigma = means.mean(), means.std()
        for i in range(samples):
            if mu - noisy * sigma < means[i] < mu + faulty * sigma:
                continue
            bell = math.exp(-((losses[i, e] - mu) ** 2) / (2 * sigma**2))
            density = bell / (sigma * math.sqrt(2 * math.pi))
            found[i, e] = {"gaussian": bell, "pdf": density, "drop": 0.0}[weight]
    return found


@pytest.mark.parametrize("history", ["mean", "recency"])
@pytest.mark.parametrize("weight", ["gaussian", "pdf", "drop"])
def test_weights_are_those_of_the_table_of_all_losses(history: str, weight: str) -> None:
    """In an order that is another in every epoch, in batches."""
    samples, epochs, batch = 60, 6, 12
    draws = np.random.default_rng(0)
    hardness = draws.normal(size=(samples, 1))
    losses = 3 + hardness + 0.1 * draws.normal(size=(samples, epochs))
    settings = {"history": history, "weight": weight, "noisy": 1.1, "faulty": 1.3, "warm_up": 2}
    expected = table_of_weights(losses, **settings)
    pairs = weighting(samples, epochs=epochs, miner={"kind": "dbpm", **settings})
    found = np.zeros_like(losses)
    for epoch in range(epochs):
        for ids in draws.permutation(samples).reshape(-1, batch):
            evidence = torch.from_numpy(losses[ids, epoch])
            found[ids, epoch] = step(pairs, evidence, torch.from_numpy(ids), epoch=epoch)
    assert 0.1 < (expected[:, 2:] != 1).mean() < 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def after_one_epoch(losses: Tensor, **settings: Any) -> PairWeighting:
    """At the beginning of the second epoch."""
    pairs = weighting(len(losses), miner={"kind": "dbpm", "warm_up": 1, **settings})
    step(pairs, losses, torch.arange(len(losses)), epoch=0)
    assert pairs.history is not None
    assert pairs.miner is not None
    pairs.miner.begin_epoch(1, pairs.history)
    return pairs


def test_of_normal_histories_as_many_are_bad_as_the_distribution_says() -> None:
    pairs = after_one_epoch(noise(200_000))
    assert pairs.history is not None
    shares = [float((pairs.history.verdicts == v).double().mean()) for v in Verdict]
    assert shares[Verdict.noisy] == pytest.approx(0.0228, abs=0.001)
    assert shares[Verdict.faulty] == pytest.approx(0.00135, abs=0.0003)


def test_a_density_is_above_1_where_histories_are_alike() -> None:
    """The official code's weight: 1.995 at the mean, for a deviation of 0.2."""
    losses = torch.tensor([0.8, 1.2] * 50).double()
    pairs = after_one_epoch(losses, weight="pdf", noisy=0.5, faulty=0.5)
    found = step(pairs, torch.ones(100).double(), torch.arange(100), epoch=1)
    torch.testing.assert_close(found, torch.full_like(found, 1.9947114), rtol=1e-5, atol=0)


@pytest.mark.parametrize("value", [0.0, 1.0, 7.3])
def test_equal_histories_make_no_sample_bad(value: float) -> None:
    """Though all of them are on both bounds."""
    pairs = after_one_epoch(torch.full((50,), value))
    assert pairs.history is not None
    assert not pairs.history.verdicts.any()
    found = step(pairs, torch.full((50,), 9.0), torch.arange(50), epoch=1)
    assert (found == 1).all()


def test_verdicts_hold_for_an_epoch() -> None:
    """Of a sample that comes again within it, because others were quarantined, too."""
    losses = torch.zeros(100)
    losses[7] = 50.0
    pairs = after_one_epoch(losses, weight="drop")
    ids = torch.tensor([7])
    assert [float(step(pairs, torch.tensor([-1e6]), ids, epoch=1)) for _ in range(3)] == [0.0] * 3
    assert float(step(pairs, torch.tensor([0.0]), torch.tensor([8]), epoch=1)) == 1.0


def test_samples_that_were_never_seen_have_no_history() -> None:
    pairs = weighting(10, miner={"kind": "dbpm", "warm_up": 1})
    step(pairs, torch.full((5,), 4.0), torch.arange(5), epoch=0)
    assert pairs.history is not None
    assert pairs.miner is not None
    pairs.miner.begin_epoch(1, pairs.history)
    assert pairs.miner.state_dict()["mean"] == 4.0
    assert not pairs.history.verdicts.any()


def test_noisy_and_faulty_are_told_apart() -> None:
    losses = torch.ones(100)
    losses[3], losses[4] = -30.0, 30.0
    pairs = after_one_epoch(losses)
    assert pairs.history is not None
    assert pairs.history.verdicts[[2, 3, 4]].tolist() == [
        Verdict.clean,
        Verdict.noisy,
        Verdict.faulty,
    ]


@given(shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_verdicts_do_not_depend_on_the_unit_of_the_loss(shift: float, scale: float) -> None:
    losses = noise(300)
    moved = after_one_epoch(scale * losses + shift, noisy=1.5, faulty=1.5).history
    plain = after_one_epoch(losses, noisy=1.5, faulty=1.5).history
    assert moved is not None
    assert plain is not None
    # Sums in single precision may bring a history to the other side of a bound.
    assert (moved.verdicts != plain.verdicts).sum() <= 3


def test_no_gradient_flows_through_weights() -> None:
    pairs = after_one_epoch(noise(50), noisy=0.1, faulty=0.1)
    loss = noise(2, 50).requires_grad_()
    losses = PairLosses(loss=loss, evidence=loss.mean(0), projections=noise(2, 50, 4))
    weights = pairs.weights(losses, global_views=2, epoch=1, sample_id=torch.arange(50))
    assert not weights.total.requires_grad
    weighted_total(losses, weights).backward()
    assert loss.grad is not None
    torch.testing.assert_close(loss.grad, weights.total / 100)


BOTH = {
    "miner": {"kind": "dbpm", "warm_up": 1, "noisy": 0.3, "faulty": 0.3},
    "arbiter": {"kind": "uota", "start_epoch": 0, "temperature": 0.5},
}


def both(**settings: Any) -> tuple[PairWeighting, PairLosses]:
    """In the second epoch, with losses that many samples are bad by."""
    pairs = weighting(80, **BOTH, **settings)
    step(pairs, noise(80), torch.arange(80), epoch=0)
    losses = PairLosses(
        loss=noise(2, 80, seed=1), evidence=noise(80, seed=1), projections=noise(2, 80, 4, seed=2)
    )
    return pairs, losses


class Negative(Miner):
    """A miner of somebody's own, with a mistake in it."""

    def judge(self, means: Tensor, known: Tensor, history: SampleHistory) -> Tensor:
        return known.to(torch.uint8)

    def weigh(self, evidence: Tensor, verdicts: Tensor) -> Tensor:
        return torch.where(verdicts > 0, -1.0, 1.0)


def test_no_weight_turns_descent_into_ascent() -> None:
    pairs = PairWeighting(miner=Negative(warm_up=1))
    pairs.own({0: (0, 20)}, epochs=2, device=CPU)
    for epoch in (0, 1):
        weights = step(pairs, torch.ones(10), torch.arange(10), epoch=epoch)
    assert not weights.any()


@pytest.mark.parametrize("most", [0.5, 10.0])
@pytest.mark.parametrize("normalize", [False, True])
def test_together_weights_are_the_bounded_product(most: float, normalize: bool) -> None:
    pairs, losses = both(most=most, normalize=normalize)
    found = pairs.weights(losses, global_views=2, epoch=1, sample_id=torch.arange(80))
    assert found.mined is not None
    assert found.arbitrated is not None
    expected = (found.mined * found.arbitrated).clamp(max=most)
    if normalize:
        expected = expected / expected.mean()
        assert float(found.total.mean()) == pytest.approx(1)
    torch.testing.assert_close(found.total, expected)
    assert found.arbitrated.mean().item() == pytest.approx(1)


def test_a_miner_without_memory_is_an_error() -> None:
    pairs = PairsConfig.model_validate({"miner": {"kind": "dbpm", "warm_up": 1}}).build(SIMCLR)
    losses = PairLosses(loss=noise(2, 9), evidence=noise(9), projections=noise(2, 9, 4))
    pairs.weights(losses, global_views=2, epoch=0, sample_id=torch.arange(9))
    with pytest.raises(RuntimeError, match="needs the ranges of its samples"):
        pairs.weights(losses, global_views=2, epoch=1, sample_id=torch.arange(9))
