"""Which sample comes when: the order of a stream in an epoch.

A stream permutes its pieces of shards, then shuffles inside windows that mix several pieces, by
hashes of seed, epoch and stream alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.data.order.streams import Ids, StreamPlan
from pipeline.randomness import permutation

PIECES_PER_WINDOW = 8


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
        size = max(1, self._plan.shuffle_window // PIECES_PER_WINDOW)
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
