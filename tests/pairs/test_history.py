"""The memory of samples: where they are in it, what it costs, and who takes it up."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from pipeline.pairs.history import SampleHistory

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


def test_a_sample_costs_eleven_bytes() -> None:
    history = SampleHistory({0: (0, 1000)}, device=CPU)
    state = history.stream_state(0).values()
    assert sum(value.numel() * value.element_size() for value in state) == 11 * 1000


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
    for _ in range(40_000):
        history.add(places, losses=torch.tensor([3.0, 5.0]), weights=torch.tensor([0.5, 0.5]))
    assert 1 << 14 <= int(history.seen[0]) < (1 << 14) + 2
    assert history.mean_losses().tolist() == [4.0, 0.0]
    assert history.mean_weights().tolist() == [1.5, 1.0]


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
