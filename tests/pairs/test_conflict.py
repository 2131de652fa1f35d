"""A miner and an arbiter that work against each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.objectives.base import PairLosses
from pipeline.pairs.base import Arbiter
from pipeline.pairs.config import DBPMConfig
from pipeline.pairs.weighting import PairWeighting

pytestmark = pytest.mark.fast

SAMPLES = 100


class Partial(Arbiter):
    """Gives the first ten samples, five of each bad sort, other weights than the rest."""

    def __init__(self, *, noisy: float, faulty: float, start_epoch: int = 0) -> None:
        super().__init__(start_epoch=start_epoch)
        self._noisy, self._faulty = noisy, faulty

    def weights(self, projections_VBD: Tensor, *, global_views: int) -> Tensor:
        found = torch.ones(projections_VBD.shape[:2], dtype=projections_VBD.dtype)
        found[:, :5], found[:, 5:10] = self._noisy, self._faulty
        return found


MINER = DBPMConfig(kind="dbpm", warm_up=1, noisy=2.0, faulty=2.0)


def weighed_by(arbiter: Partial) -> PairWeighting:
    pairs = PairWeighting(miner=MINER.build(), arbiter=arbiter)
    pairs.own({0: (0, SAMPLES)}, epochs=9, device=torch.device("cpu"))
    return pairs


def train(pairs: PairWeighting, epoch: int) -> None:
    """An epoch of one step."""
    losses = torch.full((SAMPLES,), 10.0)
    losses[:5], losses[5:10] = 1.0, 19.0
    ids = torch.arange(SAMPLES)
    found = PairLosses(
        loss=losses.expand(2, -1), evidence=losses, projections=torch.ones(2, SAMPLES, 4)
    )
    weights = pairs.weights(found, global_views=2, epoch=epoch, sample_id=ids)
    pairs.remember(found, weights, epoch=epoch, sample_id=ids)


@pytest.mark.parametrize(
    ("noisy", "faulty", "told"),
    [
        (1.8, 0.3, "to a weight of 1.80 for noisy ones in"),
        (0.3, 1.8, "to a weight of 1.80 for faulty ones in"),
        (1.25, 1.5, "to a weight of 1.25 for noisy ones and 1.50 for faulty ones in"),
        (1.02, 1.02, None),
        (0.3, 0.3, None),
    ],
)
def test_an_arbiter_that_raises_what_the_miner_turns_down_is_told(
    noisy: float, faulty: float, told: str | None
) -> None:
    arbiter = Partial(noisy=noisy, faulty=faulty)
    pairs = weighed_by(arbiter)
    for epoch in (0, 1):  # nothing is turned down in the first
        train(pairs, epoch)
        assert pairs.conflict is None
    later = weighed_by(arbiter)
    later.load_state_dict(pairs.state_dict())
    assert later.history is not None
    assert pairs.history is not None
    later.history.load_stream_state(0, pairs.history.stream_state(0))
    for taken_up in (pairs, later):
        train(taken_up, 2)
        if told is None:
            assert taken_up.conflict is None
        else:
            assert told in str(taken_up.conflict)
    later.load_state_dict(pairs.state_dict())
    assert later.conflict == pairs.conflict


def test_epochs_before_the_arbiter_begins_do_not_hide_a_conflict() -> None:
    pairs = weighed_by(Partial(noisy=1.3, faulty=0.6, start_epoch=7))
    for epoch in range(8):
        train(pairs, epoch)
        assert pairs.conflict is None
    train(pairs, 8)
    assert "1.30 for noisy ones in the last epoch" in str(pairs.conflict)
