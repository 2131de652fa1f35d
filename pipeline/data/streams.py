"""Canonical streams: which sample comes when, as a pure function, with no Ray and no worker in it.

The sample sequence, without the samples that are excluded, is cut into C contiguous streams, equal
to within one sample. In each epoch a stream permutes its pieces of shards, then shuffles inside
windows that mix several pieces. Global batch b is the next G/C samples of every stream. Workers own
whole streams, so neither the order nor a batch depends on how many workers run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from pipeline.data.corpus import SOURCE_STRIDE
from pipeline.data.exclusion import NOTHING, Exclusion
from pipeline.randomness import permutation

Ids = npt.NDArray[np.int64]

_PIECES_PER_WINDOW = 8


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


def allowed_workers(streams: int) -> list[int]:
    """Worker counts that divide the streams."""
    return [workers for workers in range(1, streams + 1) if streams % workers == 0]


def workers_that_train(streams: int, *, started: int) -> int:
    """The largest allowed number of workers among those that were started; the rest wait."""
    return max(workers for workers in allowed_workers(streams) if workers <= started)


class StreamOrder:
    """The order of one stream in one epoch: an endless sequence of positions.

    Position p < n is the p-th sample of the epoch's order; the stream's next orders follow at n, 2n
    and so on, for a stream that runs short because samples were quarantined.
    """

    def __init__(self, plan: StreamPlan, shard_boundaries: Ids, *, epoch: int, stream: int) -> None:
        """Prepare the order.

        Args:
            plan: the cut.
            shard_boundaries: ids at which shards begin, and the end; (shards + 1,).
            epoch: counted from 0.
            stream: index of the stream.
        """
        self._plan = plan
        self._stream = stream
        self._name = ("order", plan.seed, epoch, stream)
        self._low, self._high = plan.ranks(stream)
        self._pieces = self._cut(shard_boundaries)  # ranks, as all is until ids are asked for
        # What was worked out last, whole in one attribute: threads share an order.
        self._lap: tuple[int, Ids, Ids] | None = None
        self._window: tuple[tuple[int, int], Ids] | None = None

    def __len__(self) -> int:
        return self._high - self._low

    def ids(self, start: int, stop: int) -> Ids:
        """Sample ids at positions start … stop - 1; (stop - start,) int64."""
        parts = []
        for lap, window, low, high in self._windows(start, stop):
            parts.append(self._ids_of_window(lap, window)[low:high])
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def pieces(self, start: int, stop: int) -> Ids:
        """Runs of ids that the windows of these positions mix; (k, 2) int64, first and after last.

        Whoever reads these positions will soon read the others of their windows too.
        """
        parts = [
            self._pieces_of_window(lap, window) for lap, window, _, _ in self._windows(start, stop)
        ]
        return np.concatenate(parts) if parts else np.empty((0, 2), np.int64)

    def window_starts(self, start: int, stop: int) -> Iterator[int]:
        """Where the windows of these positions begin."""
        for lap, window, _, _ in self._windows(start, stop):
            yield lap * len(self) + window * self._plan.shuffle_window

    def shares(self, start: int, stop: int) -> Iterator[tuple[int, float, float]]:
        """What positions are of their windows: where the next window begins, and from … to.

        Shares of consecutive positions follow one another from 0 to 1 in each window.
        """
        size = self._plan.shuffle_window
        for lap, window, low, high in self._windows(start, stop):
            begin = window * size
            length = min(size, len(self) - begin)
            yield lap * len(self) + begin + length, low / length, high / length

    def _pieces_of_window(self, lap: int, window: int) -> Ids:
        starts, ends = self._pieces_of_lap(lap)
        low = window * self._plan.shuffle_window
        high = min(low + self._plan.shuffle_window, len(self))
        first, last = np.searchsorted(ends, [low, high - 1], side="right")
        lengths = np.diff(ends[first : last + 1], prepend=ends[first - 1] if first else 0)
        begin = starts[first : last + 1]
        runs = map(self._plan.excluded.runs, begin.tolist(), (begin + lengths).tolist())
        return np.concatenate([*runs])

    def _windows(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """Lap, window, and first and last + 1 place in it, of the windows of positions."""
        size = self._plan.shuffle_window
        while start < stop:
            lap, within = divmod(start, len(self))
            window, low = divmod(within, size)
            length = min(size, len(self) - window * size)
            high = min(low + stop - start, length)
            yield lap, window, low, high
            start += high - low

    def _cut(self, shard_boundaries: Ids) -> tuple[Ids, Ids]:
        size = max(1, self._plan.shuffle_window // _PIECES_PER_WINDOW)
        first, last = np.searchsorted(shard_boundaries, self._plan.bounds(self._stream))
        inner = self._plan.excluded.ranks_of(shard_boundaries[first:last])
        starts = np.union1d(np.arange(self._low, self._high, size), inner)
        return starts, np.append(starts[1:], self._high)

    def _pieces_of_lap(self, lap: int) -> tuple[Ids, Ids]:
        """First ranks of the pieces in the lap's order, and the positions at which they end."""
        known = self._lap
        if known is None or known[0] != lap:
            order = permutation(len(self._pieces[0]), *self._name, lap, "pieces")
            starts, ends = (bound[order] for bound in self._pieces)
            known = self._lap = (lap, starts, np.cumsum(ends - starts))
        return known[1:]

    def _ids_of_window(self, lap: int, window: int) -> Ids:
        known = self._window
        if known is not None and known[0] == (lap, window):
            return known[1]
        starts, ends = self._pieces_of_lap(lap)
        low = window * self._plan.shuffle_window
        high = min(low + self._plan.shuffle_window, len(self))
        positions = np.arange(low, high)
        piece = np.searchsorted(ends, positions, side="right")
        begin = np.where(piece > 0, ends[piece - 1], 0)
        ranks = starts[piece] + positions - begin
        order = permutation(len(ranks), *self._name, lap, "window", window)
        shuffled = self._plan.excluded.ids_at(ranks[order])
        self._window = ((lap, window), shuffled)
        return shuffled


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A read task: consecutive positions of each of a worker's streams, in one epoch."""

    epoch: int
    ranges: tuple[tuple[int, int, int], ...]  # (stream, start, stop), in stream order


def slices(
    plan: StreamPlan,
    *,
    positions: dict[int, int],
    step: int,
    total_steps: int,
    batches_per_slice: int,
) -> Iterator[Slice]:
    """The slices of a worker's streams from a cursor on, in the order in which they are needed.

    Args:
        plan: the cut.
        positions: where each of the worker's streams stands in the epoch of that step.
        step: global batches already taken since the run began.
        total_steps: global batches of the whole run.
        batches_per_slice: k, local batches in a slice.
    """
    while step < total_steps:
        epoch = step // plan.steps_per_epoch
        stop = min((epoch + 1) * plan.steps_per_epoch, total_steps)
        for first in range(step, stop, batches_per_slice):
            last = min(first + batches_per_slice, stop)
            low, high = (first - step) * plan.per_batch, (last - step) * plan.per_batch
            yield Slice(
                epoch=epoch,
                ranges=tuple((s, at + low, at + high) for s, at in sorted(positions.items())),
            )
        step = stop
        positions = dict.fromkeys(positions, 0)
