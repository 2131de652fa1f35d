"""Canonical streams: which sample comes when, as a pure function, with no Ray and no worker in it.

The sample sequence, without the samples that are excluded, is cut into C contiguous streams, equal
to within one sample. In each epoch a stream permutes its pieces of shards, then shuffles inside
windows that mix several pieces. Global batch b is the next G/C samples of every stream. Workers own
whole streams, so neither the order nor a batch depends on how many workers run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from pipeline.data.order.corpus import SOURCE_STRIDE
from pipeline.data.order.exclusion import NOTHING, Exclusion

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """How a data set is cut: everything that fixes the order, apart from the epoch."""

    seed: int
    samples: int  # n, in all manifests
    streams: int  # C
    global_batch: int  # G
    shuffle_window: int  # samples
    sources: tuple[tuple[int, int], ...] = ()  # samples and streams of each manifest, if several
    excluded: Exclusion = NOTHING

    @property
    def per_batch(self) -> int:
        """Samples that each stream gives to a global batch, G / C."""
        return self.global_batch // self.streams

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in an epoch: as many as the samples left fill.

        With one manifest that is what the shortest stream can fill; of several, the streams of one
        with more weight than samples begin anew within the epoch.
        """
        return self.left // self.global_batch

    @property
    def dropped_tail(self) -> int:
        """Samples that an undisturbed epoch does not reach."""
        served = self.steps_per_epoch * self.per_batch
        lengths = map(self.length, range(self.streams))
        return sum(max(0, length - served) for length in lengths)

    @property
    def repeated(self) -> int:
        """Samples that an undisturbed epoch serves again."""
        return self.steps_per_epoch * self.global_batch - self.left + self.dropped_tail

    @property
    def left(self) -> int:
        """Samples that are not excluded."""
        return sum(left for left, _ in self.sources_left)

    @property
    def sources_left(self) -> tuple[tuple[int, int], ...]:
        """Samples left and streams of each manifest, also of a single one."""
        return tuple(
            (samples - self.excluded.count(first_id, first_id + samples), streams)
            for first_id, (samples, streams) in zip(
                count(0, SOURCE_STRIDE), self.sources or ((self.samples, self.streams),)
            )
        )

    def ranks(self, stream: int) -> tuple[int, int]:
        """Rank of a stream's first sample among those left, and the rank after its last."""
        first_stream = 0
        for number, (left, streams) in enumerate(self.sources_left):
            within = stream - first_stream
            if within < streams:
                first = number * SOURCE_STRIDE
                return first + left * within // streams, first + left * (within + 1) // streams
            first_stream += streams
        raise IndexError(stream)

    def length(self, stream: int) -> int:
        """Samples of a stream."""
        low, high = self.ranks(stream)
        return high - low

    def bounds(self, stream: int) -> tuple[int, int]:
        """First id of a stream, and the id after its last; excluded ones may lie between."""
        low, high = self.ranks(stream)
        first, last = self.excluded.ids_at(np.array([low, max(low, high - 1)])).tolist()
        return first, last + (high > low)

    def streams_of(self, rank: int, world_size: int) -> range:
        """The streams that a rank serves; consecutive, so rank-major is stream order."""
        share = self.streams // world_size
        return range(rank * share, (rank + 1) * share)


def divide_streams(streams: int, weights: Sequence[float]) -> tuple[int, ...]:
    """Streams of each manifest, as near to its weight as whole streams come, at least one each."""
    shares = [streams * weight / sum(weights) for weight in weights]
    counts = [max(1, int(share)) for share in shares]
    while sum(counts) != streams:
        missing = streams - sum(counts)
        direction = 1 if missing > 0 else -1
        able = [i for i, count in enumerate(counts) if count + direction >= 1]
        counts[max(able, key=lambda i: direction * (shares[i] - counts[i]))] += direction
    return tuple(counts)
