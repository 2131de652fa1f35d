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
    """Running sums of the samples of some streams, at most 11 bytes for each.

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
        """Sums of what the miner sees, float32."""
        self.seen = torch.zeros(count, dtype=torch.int16, device=device)
        """How often, of the first 16,384 times; nothing is added after them."""
        self.verdicts = torch.zeros(count, dtype=torch.uint8, device=device)
        """The miner's of this epoch."""
        self.weights = torch.zeros(count, device=device)
        """Sums of the arbiter's weights less 1, float32."""

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

    def mean_losses(self) -> Tensor:
        """Means (n,) float64 of what the miner has seen of each sample; 0 of those not seen."""
        means = self.losses.double() / self.seen.clamp(min=1)
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
        counted = self.seen[places] < _MOST_SEEN  # a set of few samples may be served very often
        self.seen.index_add_(0, places, counted.to(torch.int16))
        self.losses.index_add_(0, places, losses.to(self.losses).where(counted, 0.0))
        if weights is not None:
            self.weights.index_add_(0, places, weights.to(self.weights).where(counted, 0.0))

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

    @property
    def streams(self) -> Sequence[int]:
        """Whose samples they are."""
        return self._streams

    def _sums(self) -> dict[str, Tensor]:
        return {
            "losses": self.losses,
            "seen": self.seen,
            "verdicts": self.verdicts,
            "weights": self.weights,
        }


def _sum_in_order(own: list[list[float]]) -> list[float]:
    """Sums over the streams of all ranks, of figures of each of this rank's."""
    streams = [sums for of_rank in collectives.gather_json(own) for sums in of_rank]
    return [sum(column) for column in zip(*streams, strict=True)]
