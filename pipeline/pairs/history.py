"""What is remembered of every sample from epoch to epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline import collectives

PEAK_BYTES = 40
"""Of a sample, for a moment: its history, and what an epoch's verdicts are made from."""

_MOST_SEEN = 1 << 14
_MOST_RECENT = 1 << 7
_SAME = 1e-6  # of the mean: values that differ by no more are equal but for rounding


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Of values of all samples that were seen, over all ranks' streams."""

    mean: float
    deviation: float  # 0 where values differ by rounding alone

    def deviations(self, values: Tensor) -> Tensor:
        """How many deviations values (n,) lie above the mean; 0 where values do not differ."""
        if not self.deviation:
            return torch.zeros_like(values)
        return (values - self.mean) / self.deviation


class SampleHistory:
    """Running sums of the samples of some streams, 12 bytes for each.

    Losses fall from epoch to epoch, and not every sample is served in each: a batch's remainder
    is dropped, and of several sets one may be served in part or begin anew. So that nobody looks
    easy or hard by the epochs that it missed, what a sample showed counts beside the mean of all
    that were served since the same `centre`. Where every sample is served as often in every
    epoch this changes no comparison.

    A stream's samples lie in a range of ids, some of which may never be served. Its part of the
    state goes wherever the stream does, so that any number of ranks can take it up.
    """

    def __init__(self, ranges: Mapping[int, tuple[int, int]], *, device: torch.device) -> None:
        """Remember nothing yet.

        Args:
            ranges: by stream the first id, and the one after the last; in the order in which a
                batch has them.
            device: where sums are kept, and sample ids come from.
        """
        self._streams = list(ranges)
        lows = [low for low, _ in ranges.values()]
        lengths = [high - low for low, high in ranges.values()]
        starts = [sum(lengths[:number]) for number in range(len(lengths))]
        self._places = dict(zip(ranges, zip(starts, lengths, strict=True), strict=True))
        self._starts = torch.tensor(starts, device=device)
        self._first_ids = torch.tensor(lows, device=device)
        by_id = sorted(range(len(lows)), key=lambda number: lows[number])
        self._lows = torch.tensor([lows[n] for n in by_id], device=device)
        self._shifts = torch.tensor([starts[n] - lows[n] for n in by_id], device=device)
        count = sum(lengths)
        self.losses = torch.zeros(count, device=device)
        """Sums of what the miner sees, float32, less the means of what has been centred."""
        self.seen = torch.zeros(count, dtype=torch.int16, device=device)
        """How often, of the first 16,384 times; nothing is added after them."""
        self.verdicts = torch.zeros(count, dtype=torch.uint8, device=device)
        """The miner's of this epoch."""
        self.recent = torch.zeros(count, dtype=torch.uint8, device=device)
        """How often since the last `centre`, of the first 128 times; nothing is added after."""
        self.weights = torch.zeros(count, device=device)
        """Sums of the arbiter's weights less 1, float32."""
        self._total = 0.0  # of what has been centred, over all ranks, and how much that was
        self._count = 0.0

    def places(self, sample_id: Tensor) -> Tensor:
        """Where samples (B,) int64 of these streams are in the sums; (B,) int64."""
        source = torch.bucketize(sample_id, self._lows, right=True) - 1
        return sample_id + self._shifts[source]

    def sample_ids(self, places: Tensor) -> Tensor:
        """Of samples at places (k,) int64 of the sums; (k,) int64."""
        source = torch.bucketize(places, self._starts, right=True) - 1
        return places - self._starts[source] + self._first_ids[source]

    @property
    def known(self) -> Tensor:
        """Which samples were seen, (n,) bool."""
        return self.seen > 0

    def centre(self) -> None:
        """Take the mean of what came since the last time out of it. Every rank calls this.

        At the end of each epoch; what comes after a call within one counts as another epoch.
        """
        own = []
        for start, length in self._places.values():  # one by one: there may be very many samples
            place = slice(start, start + length)
            own.append([float(self.losses[place].double().sum()), float(self.recent[place].sum())])
        total, count = _sum_in_order(own)
        if not count:
            return
        self.losses.sub_(self.recent, alpha=total / count)
        self.recent.zero_()
        self._total += total
        self._count += count

    def mean_losses(self) -> Tensor:
        """Means (n,) float64 of what the miner has seen of each sample; 0 of those not seen.

        What came with others is compared with theirs (see above): the mean over all that was seen,
        and how far each sample lay above the mean of its epochs. Every rank calls this, when an
        epoch has ended.
        """
        self.centre()
        means = self.losses.double() / self.seen.clamp(min=1)
        means += self._total / max(self._count, 1.0)
        return means.masked_fill_(~self.known, 0.0)

    def mean_weights(self) -> Tensor:
        """Means (n,) float64 of the arbiter's weights of each sample; 1 of those not seen."""
        return 1 + self.weights.double() / self.seen.clamp(min=1)

    def moments(self, values: Tensor) -> Moments:
        """Mean and deviation over all samples that were seen. Every rank calls this.

        Args:
            values: (n,) float64 of this rank's places.
        """
        own = []
        for start, length in self._places.values():  # one by one: there may be very many samples
            place = slice(start, start + length)
            known = values[place][self.seen[place] > 0]
            own.append([float(len(known)), float(known.sum()), float(known.square().sum())])
        count, total, squares = _sum_in_order(own)
        mean = total / max(count, 1.0)
        deviation = math.sqrt(max(0.0, squares / max(count, 1.0) - mean**2))
        return Moments(mean=mean, deviation=deviation if deviation > _SAME * abs(mean) else 0.0)

    def add(self, places: Tensor, *, losses: Tensor, weights: Tensor | None) -> None:
        """Remember a step; all (B,), a place may come twice."""
        # Of a set of few samples one may come very often: so many at once that none can wrap.
        for part in torch.arange(len(places), device=places.device).split(_MOST_RECENT - 1):
            own = places[part]
            counted = (self.seen[own] < _MOST_SEEN) & (self.recent[own] < _MOST_RECENT)
            self.seen.index_add_(0, own, counted.to(torch.int16))
            self.recent.index_add_(0, own, counted.to(torch.uint8))
            self.losses.index_add_(0, own, losses[part].to(self.losses).where(counted, 0.0))
            if weights is not None:
                excess = weights[part].to(self.weights)
                self.weights.index_add_(0, own, excess.where(counted, 0.0))

    def sums_over_streams(self, *values: Tensor) -> list[float]:
        """Sums of values of all places, over all ranks' streams. Every rank calls this.

        Streams are added one by one in their order, so that the number of ranks changes no bit
        where each has as many threads.

        Args:
            values: (n,) float64 of this rank's places, each.
        """
        own = [
            [float(value[start : start + length].sum()) for value in values]
            for start, length in self._places.values()
        ]
        return _sum_in_order(own)

    def stream_state(self, stream: int) -> dict[str, Tensor]:
        """All that is known of a stream's samples."""
        start, length = self._places[stream]
        return {name: values[start : start + length] for name, values in self._sums().items()}

    def load_stream_state(self, stream: int, state: Mapping[str, Any]) -> None:
        """Take up what is known of a stream's samples."""
        start, length = self._places[stream]
        for name, values in self._sums().items():
            values[start : start + length] = state[name]

    def state_dict(self) -> dict[str, float]:
        """What all ranks know alike, beside the streams' parts."""
        return {"total": self._total, "count": self._count}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take up a state."""
        self._total, self._count = state["total"], state["count"]

    @property
    def streams(self) -> Sequence[int]:
        """Whose samples they are."""
        return self._streams

    def _sums(self) -> dict[str, Tensor]:
        return {
            "losses": self.losses,
            "seen": self.seen,
            "verdicts": self.verdicts,
            "recent": self.recent,
            "weights": self.weights,
        }


def _sum_in_order(own: list[list[float]]) -> list[float]:
    """Sums over the streams of all ranks, of figures of each of this rank's."""
    streams = [sums for of_rank in collectives.gather_json(own) for sums in of_rank]
    return [sum(column) for column in zip(*streams, strict=True)]
