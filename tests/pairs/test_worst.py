"""Which samples are listed as bad, beside a table of all losses and weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.pairs.base import Miner, Verdict
from pipeline.pairs.config import DBPMConfig
from pipeline.pairs.history import SampleHistory
from pipeline.pairs.worst import OUTLYING, worst_samples

pytestmark = pytest.mark.fast

CPU = torch.device("cpu")
FAR = 2**40  # where the ids of a second manifest begin
RANGES = {0: (0, 150), 1: (150, 300), 2: (FAR, FAR + 200)}
IDS = np.concatenate([np.arange(low, high) for low, high in RANGES.values()])
MOST = 10_000
DBPM = DBPMConfig(kind="dbpm", noisy=1.5, faulty=1.8)


def table(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses and weights (epochs, n) of every sample, and whether it was served (epochs, n)."""
    noise = np.random.default_rng(seed)
    losses = noise.normal(3, 0.3, (6, len(IDS))) + noise.normal(0, 1, len(IDS))
    weights = 1 + noise.normal(0, 0.05, (6, len(IDS)))
    weights[:, noise.choice(len(IDS), 6, replace=False)] -= 0.8
    served = noise.random((6, len(IDS))) < 0.8
    served[:, [3, 340]] = False  # quarantined
    return losses, weights, served


def history_of(losses: np.ndarray, weights: np.ndarray, served: np.ndarray) -> SampleHistory:
    history = SampleHistory(RANGES, device=CPU)
    for loss, weight, there in zip(losses, weights, served, strict=True):
        places = history.places(torch.from_numpy(IDS[there]))
        history.add(
            places,
            losses=torch.from_numpy(loss[there]),
            weights=torch.from_numpy(weight[there] - 1),
        )
    return history


def test_the_sorts_are_those_of_a_table_of_all_losses() -> None:
    losses, weights, served = table()
    found = worst_samples(
        history_of(losses, weights, served), miner=DBPM.build(), arbitrated=True, at_most=MOST
    )
    seen = served.sum(axis=0)
    known = seen > 0
    mean_loss = np.where(served, losses, 0).sum(axis=0) / np.maximum(seen, 1)
    mean_weight = np.where(served, weights, 0).sum(axis=0) / np.maximum(seen, 1)
    deviations = (mean_loss - mean_loss[known].mean()) / mean_loss[known].std()
    least = mean_weight[known].mean() - OUTLYING * mean_weight[known].std()
    expected = {
        "noisy": (known & (deviations <= -1.5), deviations),
        "faulty": (known & (deviations >= 1.8), -deviations),
        "outlier": (known & (mean_weight <= least), mean_weight),
    }
    miner_weight = np.where(
        (deviations <= -1.5) | (deviations >= 1.8), np.exp(-(deviations**2) / 2), 1.0
    )
    assert list(found) == list(expected)
    for name, (bad, badness) in expected.items():
        rows = np.flatnonzero(bad)
        rows = rows[np.argsort(badness[rows], kind="stable")]
        assert len(rows) > 5
        assert {bool(i >= FAR) for i in IDS[rows]} == {True, False}
        worst = found[name]
        assert worst.total == len(rows)
        assert worst.sample_id.tolist() == IDS[rows].tolist()
        assert worst.seen.tolist() == seen[rows].tolist()
        assert worst.arbiter_weight is not None
        assert worst.miner_weight is not None
        for ours, theirs in (
            (worst.mean_loss, mean_loss),
            (worst.deviations, deviations),
            (worst.miner_weight, miner_weight),
            (worst.arbiter_weight, mean_weight),
        ):
            np.testing.assert_allclose(ours.numpy(), theirs[rows], rtol=1e-5, atol=1e-5)


def test_the_list_is_cut_behind_the_worst() -> None:
    history = history_of(*table())
    whole, cut = (
        worst_samples(history, miner=DBPM.build(), arbitrated=True, at_most=most)
        for most in (MOST, 3)
    )
    for name, worst in whole.items():
        assert cut[name].total == worst.total > 3
        assert cut[name].sample_id.tolist() == worst.sample_id[:3].tolist()


class Picky(Miner):
    """A miner of somebody's own, with verdicts that have nothing to do with deviations."""

    def judge(self, means: Tensor, known: Tensor, history: SampleHistory) -> Tensor:
        return torch.where(known, int(Verdict.faulty), int(Verdict.clean)).to(torch.uint8)

    def weigh(self, evidence: Tensor, verdicts: Tensor) -> Tensor:
        return torch.where(verdicts == Verdict.faulty, 0.25, 1.0)


def test_equally_bad_samples_are_in_the_order_of_their_ids() -> None:
    history = SampleHistory(RANGES, device=CPU)
    ids = torch.from_numpy(IDS)
    losses = torch.ones(len(IDS))
    losses[[7, 400]] = 2.0
    history.add(history.places(ids), losses=losses, weights=None)
    found = worst_samples(history, miner=Picky(warm_up=1), arbitrated=False, at_most=5)
    assert list(found) == ["noisy", "faulty"]
    assert found["noisy"].total == 0
    assert found["faulty"].total == len(IDS)
    assert found["faulty"].sample_id.tolist() == [7, FAR + 100, 0, 1, 2]
    assert found["faulty"].arbiter_weight is None
    assert found["faulty"].miner_weight is not None
    assert found["faulty"].miner_weight.tolist() == [0.25] * 5


def test_verdicts_are_of_the_whole_history_and_change_nothing() -> None:
    history, miner = history_of(*table()), DBPM.build()
    before = miner.state_dict()
    worst_samples(history, miner=miner, arbitrated=False, at_most=MOST)
    assert not history.verdicts.any()
    assert miner.state_dict() == before


def test_samples_that_do_not_differ_are_not_bad() -> None:
    history = SampleHistory(RANGES, device=CPU)
    places = history.places(torch.from_numpy(IDS))
    for _ in range(3):
        history.add(
            places, losses=torch.full((len(IDS),), 0.1), weights=torch.full((len(IDS),), 1e-9)
        )
    found = worst_samples(history, miner=DBPM.build(), arbitrated=True, at_most=MOST)
    assert [worst.total for worst in found.values()] == [0, 0, 0]
