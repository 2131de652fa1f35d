"""The memory of samples: where they are in it, what it costs, and who takes it up."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from pipeline.objectives.base import PairLosses
from pipeline.pairs.config import DBPMConfig
from pipeline.pairs.history import SampleHistory
from pipeline.pairs.weighting import PairWeighting

pytestmark = pytest.mark.fast

CPU = torch.device("cpu")
FAR = 2**40  # where the ids of a second manifest begin
RANGES = {0: (0, 5), 1: (5, 11), 2: (FAR, FAR + 4), 3: (FAR + 4, FAR + 9)}


def filled(ranges: dict[int, tuple[int, int]]) -> SampleHistory:
    """Every sample was seen once, with its id as its loss."""
    history = SampleHistory(ranges, device=CPU)
    ids = torch.cat([torch.arange(low, high) for low, high in ranges.values()])
    losses = (ids % FAR).float()
    history.add(history.places(ids), losses=losses, weights=-losses)
    return history


def test_every_sample_has_a_place_of_its_own() -> None:
    history = SampleHistory(RANGES, device=CPU)
    ids = torch.cat([torch.arange(low, high) for low, high in RANGES.values()])
    assert history.places(ids).tolist() == list(range(20))
    assert history.places(torch.tensor([FAR + 4, 4])).tolist() == [15, 4]


def test_a_sample_costs_twelve_bytes() -> None:
    history = SampleHistory({0: (0, 1000)}, device=CPU)
    state = history.stream_state(0).values()
    assert sum(value.numel() * value.element_size() for value in state) == 12 * 1000


def test_a_sample_that_comes_twice_in_a_batch_is_added_twice() -> None:
    history = SampleHistory({0: (0, 3)}, device=CPU)
    places = history.places(torch.tensor([2, 0, 2]))
    history.add(places, losses=torch.tensor([1.0, 5.0, 10.0]), weights=None)
    assert history.losses.tolist() == [5.0, 0.0, 11.0]
    assert history.seen.tolist() == [1, 0, 2]


def test_a_sample_that_is_served_without_end_keeps_its_mean() -> None:
    """One of a small set, which comes in every batch, twice."""
    history = SampleHistory({0: (0, 2)}, device=CPU)
    places = history.places(torch.tensor([0, 0]))
    for step in range(40_000):
        history.add(places, losses=torch.tensor([3.0, 5.0]), weights=torch.tensor([0.5, 0.5]))
        if step % 50 == 0:
            history.centre()
    assert 1 << 14 <= int(history.seen[0]) < (1 << 14) + 2
    assert history.mean_losses().tolist() == [4.0, 0.0]
    assert history.mean_weights().tolist() == [1.5, 1.0]


def test_a_sample_that_fills_batches_of_an_epoch_keeps_its_mean() -> None:
    history = SampleHistory({0: (0, 2)}, device=CPU)
    places = torch.zeros(1_000, dtype=torch.int64)
    history.add(places, losses=torch.full((1_000,), 4.0), weights=None)
    assert 128 <= int(history.seen[0]) == int(history.recent[0]) < 256
    assert history.mean_losses().tolist() == [4.0, 0.0]


def test_means_are_plain_where_everybody_comes_as_often() -> None:
    """In epochs of two steps, with losses that fall."""
    draws = torch.Generator().manual_seed(0)
    losses = 5 - torch.arange(6)[:, None] / 2 + torch.rand(6, 40, generator=draws)
    history = SampleHistory({0: (0, 25), 1: (25, 40)}, device=CPU)
    for of_epoch in losses:
        for places in torch.randperm(40, generator=draws).split(20):
            history.add(places, losses=of_epoch[places], weights=None)
        history.centre()
    torch.testing.assert_close(history.mean_losses(), losses.double().mean(dim=0))


@pytest.mark.parametrize("served", ["remainder dropped", "one set in part", "in mid-epoch"])
def test_nobody_looks_easy_or_hard_by_the_epochs_that_it_missed(served: str) -> None:
    """Samples differ from each other by nothing, or by 1, however losses fall meanwhile."""
    draws = torch.Generator().manual_seed(0)
    history = SampleHistory({0: (0, 60)}, device=CPU)
    hard = torch.arange(60) % 10 == 0
    for epoch in range(6):
        order = torch.randperm(60, generator=draws)
        if served == "remainder dropped":
            order = order[:45]
        elif served == "one set in part":  # the first twenty begin anew, and a few a third time
            order = torch.cat([order[order >= 20][:15], torch.arange(45) % 20])
        elif epoch == 5:
            order = order[:30]
        for places in order.split(15):
            history.add(places, losses=8.0 - epoch + hard[places], weights=None)
        if epoch < 5:
            history.centre()
    means, known = history.mean_losses(), history.known
    assert 0.75 < float(means[known & hard].min() - means[known & ~hard].max()) < 1.01


def remembering() -> PairWeighting:
    """Of four samples, by a miner that weighs nothing yet."""
    weighting = PairWeighting(miner=DBPMConfig(kind="dbpm", warm_up=9).build())
    weighting.own({0: (0, 4)}, epochs=9, device=CPU)
    return weighting


def step(weighting: PairWeighting, *, epoch: int, ids: list[int], loss: float) -> None:
    losses = torch.full((2, len(ids)), loss)
    found = PairLosses(loss=losses, evidence=losses[0], projections=losses[..., None])
    sample_id = torch.tensor(ids)
    weights = weighting.weights(found, global_views=2, epoch=epoch, sample_id=sample_id)
    weighting.remember(found, weights, epoch=epoch, sample_id=sample_id)


def test_epochs_are_centred_as_they_end_though_nothing_is_weighed() -> None:
    whole, stopped = remembering(), remembering()
    for weighting in (whole, stopped):
        step(weighting, epoch=0, ids=[0, 1], loss=5.0)
        step(weighting, epoch=0, ids=[2], loss=5.0)  # 3 is left over
        step(weighting, epoch=1, ids=[3, 2], loss=3.0)
    taken_up = remembering()
    assert taken_up.history is not None
    assert stopped.history is not None
    taken_up.history.load_stream_state(0, stopped.history.stream_state(0))
    taken_up.load_state_dict(stopped.state_dict())
    for weighting in (whole, taken_up):
        step(weighting, epoch=1, ids=[1], loss=3.0)  # 0 is left over
        assert weighting.history is not None
        assert weighting.history.recent.tolist() == [0, 1, 1, 1]
        assert weighting.history.mean_losses().tolist() == [4.0] * 4


@pytest.mark.parametrize("cut", [[4], [2, 2], [1, 1, 1, 1]])
def test_any_number_of_ranks_takes_up_the_state_of_streams(cut: list[int]) -> None:
    whole = filled(RANGES)
    state = {stream: whole.stream_state(stream) for stream in RANGES}
    streams = iter(RANGES)
    found = []
    for count in cut:
        own = {stream: RANGES[stream] for stream in islice(streams, count)}
        part = SampleHistory(own, device=CPU)
        for stream in part.streams:
            part.load_stream_state(stream, state[stream])
        found.append(part)
    for name in ("losses", "seen", "weights"):
        joined = torch.cat([getattr(part, name) for part in found])
        assert torch.equal(joined, getattr(whole, name))
