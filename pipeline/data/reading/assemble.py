"""Rows of slices in, batches out: quarantine, refill, accounts and cursors, alike for every ingest.

A bad row is set aside and the stream's next good one takes its place, so a batch depends only on
its streams' orders and on which bytes are bad, never on slices or timing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.data.order.slices import Slice
from pipeline.data.reading.accounting import Account, LedgerEntry
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.slice_reader import SliceReader, pixels_of
from pipeline.errors import Problem, UserError
from pipeline.views.arrays import Pixels


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A worker's share of a global batch, its streams in order."""

    epoch: int
    stream: npt.NDArray[np.int32]  # (B,)
    position: npt.NDArray[np.int64]  # (B,), in the stream's order of the epoch
    sample_id: npt.NDArray[np.int64]  # (B,)
    views: tuple[Pixels, ...]  # a block for each crop size: (B, V, S, S, 3), (B, L, s, s, 3)


class _Run(NamedTuple):
    """Consecutive rows of one stream in one table; arrays, since a row each costs a core."""

    position: npt.NDArray[np.int64]  # (n,)
    sample_id: npt.NDArray[np.int64]  # (n,)
    good: npt.NDArray[np.bool_]  # (n,)
    error: pa.ChunkedArray  # (n,) string, null where good
    pixels: Pixels  # (n, row bytes), a view of the table's

    def split(self, count: int) -> tuple[_Run, _Run]:
        """The first `count` rows, and the others."""
        position, sample_id, good, error, pixels = self
        return (
            _Run(position[:count], sample_id[:count], good[:count], error[:count], pixels[:count]),
            _Run(position[count:], sample_id[count:], good[count:], error[count:], pixels[count:]),
        )


class BatchAssembler:
    """Turns a worker's slices into its batches; its cursors continue them elsewhere."""

    def __init__(
        self,
        reader: SliceReader,
        *,
        cursors: dict[int, Cursor],
        step: int,
        total_steps: int,
        max_bad_fraction: float = 1.0,
    ) -> None:
        """Stand where the cursors say.

        Args:
            reader: reads the rows that replace quarantined ones at the end of an epoch.
            cursors: one for each of the worker's streams.
            step: global batches already taken since the run began.
            total_steps: global batches of the whole run.
            max_bad_fraction: share of bad samples; a source that has clearly more stops at once.
        """
        self._reader = reader
        self._max_bad_fraction = max_bad_fraction
        self._read = self._bad = 0
        self._plan = reader.plan
        self._total_steps = total_steps
        self.cursors = cursors
        self.step = step
        self._begin_reading()

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to."""
        return self.step // self._plan.steps_per_epoch

    def _begin_reading(self) -> None:
        self._waiting: dict[int, deque[_Run]] = {name: deque() for name in self.cursors}
        self._good = dict.fromkeys(self.cursors, 0)
        self._read_to = {name: cursor.position for name, cursor in self.cursors.items()}
        epoch_ends = min((self.epoch + 1) * self._plan.steps_per_epoch, self._total_steps)
        planned = (epoch_ends - self.step) * self._plan.per_batch
        self._planned_to = {name: at + planned for name, at in self._read_to.items()}

    def batches(self, tables: Iterable[pa.Table]) -> Iterator[Batch]:
        """The worker's batches to the end of the run.

        When a batch is handed over, the cursors already stand behind it.

        Args:
            tables: rows of the worker's slices, in their order, in tables of any length.
        """
        rows = iter(tables)
        while self.step < self._total_steps:
            while short := self._short():
                self._refuse_barren(short)
                if all(self._read_to[name] >= self._planned_to[name] for name in short):
                    self._push(self._refill(short))
                else:
                    self._push(next(rows))
            batch = self._take_batch()
            self.step += 1
            if self.step % self._plan.steps_per_epoch == 0:
                self._finish_epoch()
            yield batch

    def _short(self) -> list[int]:
        return [name for name, good in self._good.items() if good < self._plan.per_batch]

    def _refuse_barren(self, short: list[int]) -> None:
        for name in short:
            read = self._read_to[name] - self.cursors[name].position
            # Two lengths hold a whole pass, wherever in its order the stream stands.
            if read >= 2 * self._length(name):
                errors = (run.error.drop_null().to_pylist() for run in self._waiting[name])
                error = next(chain.from_iterable(errors), None)
                raise UserError(
                    Problem(
                        "data.shards",
                        f"two passes over stream {name} found {self._good[name]} samples that can "
                        f"be decoded, a batch needs {self._plan.per_batch}; the first fault: "
                        f"{error}",
                    )
                )

    def _refill(self, short: list[int]) -> pa.Table:
        ranges = tuple(
            (
                name,
                self._read_to[name],
                self._read_to[name] + self._plan.per_batch - self._good[name],
            )
            for name in short
        )
        return self._reader.read(Slice(epoch=self.epoch, ranges=ranges))

    def _push(self, table: pa.Table) -> None:
        if not len(table):
            return
        stream = table["stream"].to_numpy()
        run = _Run(
            table["position"].to_numpy(),
            table["sample_id"].to_numpy(),
            table["error"].is_null().to_numpy(),
            table["error"],
            pixels_of(table, self._reader.views.row_bytes),
        )
        done = 0
        for end in (*(np.flatnonzero(np.diff(stream)) + 1), len(stream)):
            ours, run = run.split(end - done)
            name = int(stream[done])
            self._waiting[name].append(ours)
            self._read_to[name] = int(ours.position[-1]) + 1
            self._good[name] += int(ours.good.sum())
            done = end
        self._refuse_rubbish(table)

    def _refuse_rubbish(self, table: pa.Table) -> None:
        """Stop where the share of bad samples is beyond what chance would give an allowed one."""
        self._read += len(table)
        self._bad += len(table) - table["error"].null_count
        expected = self._max_bad_fraction * self._read
        if self._max_bad_fraction < 1 and self._bad > expected + 5 * math.sqrt(expected) + 10:
            number = int(np.flatnonzero(table["error"].is_valid().to_numpy())[0])
            with self._reader.open_shards() as shards:
                shard, key, _ = shards.describe(table["sample_id"][number].as_py())
            raise UserError(
                Problem(
                    "data.max_bad_fraction",
                    f"{self._max_bad_fraction}, but of the first {self._read} samples of this "
                    f"worker {self._bad} cannot be decoded; e.g. {key} in {shard.path}: "
                    f"{table['error'][number]}",
                )
            )

    def _take_batch(self) -> Batch:
        runs = [run for name in self.cursors for run in self._take(name)]
        return Batch(
            epoch=self.epoch,
            stream=np.repeat(np.array(list(self.cursors), dtype=np.int32), self._plan.per_batch),
            position=np.concatenate([run.position[run.good] for run in runs]),
            sample_id=np.concatenate([run.sample_id[run.good] for run in runs]),
            views=self._reader.views.split(
                np.concatenate(
                    [run.pixels if run.good.all() else run.pixels[run.good] for run in runs]
                )
            ),
        )

    def _take(self, name: int) -> list[_Run]:
        """Rows of a stream up to the last good one that the batch needs, accounted for."""
        taken: list[_Run] = []
        missing = self._plan.per_batch
        while missing:
            run = self._waiting[name].popleft()
            good = np.flatnonzero(run.good)
            if good.size >= missing:  # bad rows behind the last good one are the next batch's
                run, rest = run.split(int(good[missing - 1]) + 1)
                if len(rest.position):
                    self._waiting[name].appendleft(rest)
            self._account_for(name, run)
            missing -= min(missing, good.size)
            taken.append(run)
        self._good[name] -= self._plan.per_batch
        return taken

    def _account_for(self, name: int, run: _Run) -> None:
        cursor, length = self.cursors[name], self._length(name)
        cursor.position = int(run.position[-1]) + 1
        cursor.served += int(run.good.sum())
        cursor.repeated += int((run.good & (run.position >= length)).sum())
        for row in np.flatnonzero(~run.good & (run.position < length)):
            self._quarantine(cursor, int(run.sample_id[row]), run.error[int(row)].as_py())

    def _length(self, name: int) -> int:
        return self._plan.length(name)

    def _quarantine(self, cursor: Cursor, sample_id: int, error: str) -> None:
        cursor.quarantined.append(sample_id)
        if all(entry.sample_id != sample_id for entry in cursor.ledger):
            with self._reader.open_shards() as shards:
                shard, key, offset = shards.describe(sample_id)
            entry = LedgerEntry(
                sample_id=sample_id,
                shard=shard.path,
                key=key,
                offset=offset,
                error=error,
                epoch=self.epoch,
            )
            cursor.ledger.append(entry)

    def _finish_epoch(self) -> None:
        for name, cursor in self.cursors.items():
            cursor.finished = cursor.account(self._length(name))
            cursor.position = cursor.served = cursor.repeated = 0
            cursor.quarantined = []
        self._begin_reading()

    def account(self) -> Account:
        """Counts over the worker's streams since the run began."""
        counts = (cursor.account(self._length(name)) for name, cursor in self.cursors.items())
        return sum(counts, start=Account())

    def state(self) -> dict[str, Any]:
        """The cursors as JSON values, by stream."""
        return {str(name): asdict(cursor) for name, cursor in self.cursors.items()}
