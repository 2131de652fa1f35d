"""Canonical streams: which sample comes when, as a pure function, with no Ray and no worker in it.

The sample sequence is cut into C contiguous streams, equal to within one sample. In each epoch a
stream permutes its pieces of shards, then shuffles inside windows that mix several pieces. Global
batch b is the next G/C samples of every stream. Workers own whole streams, so neither the order nor
a batch depends on how many workers run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import Problem
from pipeline.randomness import permutation

Ids = npt.NDArray[np.int64]

_PIECES_PER_WINDOW = 8


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """How a data set is cut: everything that fixes the order, apart from the epoch."""

    seed: int
    samples: int  # n, in the whole manifest
    streams: int  # C
    global_batch: int  # G
    shuffle_window: int  # samples

    @property
    def per_batch(self) -> int:
        """Samples that each stream gives to a global batch, G / C."""
        return self.global_batch // self.streams

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in an epoch: what the shortest stream can fill."""
        return (self.samples // self.streams) // self.per_batch

    @property
    def dropped_tail(self) -> int:
        """Samples that an undisturbed epoch does not reach."""
        return self.samples - self.steps_per_epoch * self.global_batch

    def bounds(self, stream: int) -> tuple[int, int]:
        """First position of a stream in the sample sequence, and the position after its last."""
        return (
            self.samples * stream // self.streams,
            self.samples * (stream + 1) // self.streams,
        )

    def streams_of(self, rank: int, world_size: int) -> range:
        """The streams that a rank serves; consecutive, so rank-major is stream order."""
        share = self.streams // world_size
        return range(rank * share, (rank + 1) * share)


def problems(*, samples: int, streams: int, global_batch: int, workers: int) -> list[Problem]:
    """What forbids this cut, each with what would be allowed."""
    found = []
    if global_batch % streams:
        near = list(range(streams, global_batch + streams + 1, streams))[-2:]
        found.append(
            Problem(
                "train.global_batch",
                f"{global_batch} is not divisible by data.streams = {streams}; "
                f"nearest: {' or '.join(str(g) for g in near)}",
            )
        )
    if streams % workers:
        found.append(
            Problem(
                "train.workers",
                f"{workers} does not divide data.streams = {streams}; "
                f"allowed: {', '.join(str(w) for w in allowed_workers(streams))}",
            )
        )
    if not global_batch % streams and samples // streams < global_batch // streams:
        largest = samples // streams * streams
        remedy = (
            f"the largest batch that fits is {largest}"
            if largest
            else f"use at most {samples} streams"
        )
        found.append(
            Problem(
                "train.global_batch",
                f"{global_batch} needs {global_batch // streams} samples of each of {streams} "
                f"streams, but the {samples} samples give {samples // streams}; {remedy}",
            )
        )
    return found


def allowed_workers(streams: int) -> list[int]:
    """Worker counts that divide the streams."""
    return [workers for workers in range(1, streams + 1) if streams % workers == 0]


class StreamOrder:
    """The order of one stream in one epoch: an endless sequence of positions.

    Position p < n is the p-th sample of the epoch's order; the stream's next orders follow at n, 2n
    and so on, for a stream that runs short because samples were quarantined.
    """

    def __init__(self, plan: StreamPlan, shard_boundaries: Ids, *, epoch: int, stream: int) -> None:
        """Prepare the order.

        Args:
            plan: the cut.
            shard_boundaries: positions at which shards begin, and the end; (shards + 1,).
            epoch: counted from 0.
            stream: index of the stream.
        """
        self._plan = plan
        self._name = ("order", plan.seed, epoch, stream)
        self._low, self._high = plan.bounds(stream)
        self._pieces = self._cut(shard_boundaries)
        self._lap = -1
        self._starts = self._ends = np.empty(0, np.int64)
        self._window: tuple[int, int] = (-1, -1)
        self._window_ids = np.empty(0, np.int64)

    def __len__(self) -> int:
        return self._high - self._low

    def ids(self, start: int, stop: int) -> Ids:
        """Sample ids at positions start … stop - 1; (stop - start,) int64."""
        parts = []
        while start < stop:
            lap, within = divmod(start, len(self))
            window = within // self._plan.shuffle_window
            offset = within - window * self._plan.shuffle_window
            ids = self._ids_of_window(lap, window)[offset : offset + stop - start]
            parts.append(ids)
            start += len(ids)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _cut(self, shard_boundaries: Ids) -> tuple[Ids, Ids]:
        size = max(1, self._plan.shuffle_window // _PIECES_PER_WINDOW)
        first, last = np.searchsorted(shard_boundaries, [self._low, self._high])
        inner = shard_boundaries[first:last]
        starts = np.union1d(np.arange(self._low, self._high, size), inner)
        return starts, np.append(starts[1:], self._high)

    def _ids_of_window(self, lap: int, window: int) -> Ids:
        if (lap, window) == self._window:
            return self._window_ids
        if lap != self._lap:
            order = permutation(len(self._pieces[0]), *self._name, lap, "pieces")
            self._starts, piece_ends = (bound[order] for bound in self._pieces)
            self._ends = np.cumsum(piece_ends - self._starts)
            self._lap = lap
        low = window * self._plan.shuffle_window
        high = min(low + self._plan.shuffle_window, len(self))
        positions = np.arange(low, high)
        piece = np.searchsorted(self._ends, positions, side="right")
        begin = np.append(0, self._ends)[piece]
        ids = self._starts[piece] + positions - begin
        shuffled = ids[permutation(len(ids), *self._name, lap, "window", window)]
        self._window, self._window_ids = (lap, window), shuffled
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
