"""Which samples of a shuffle are the test set."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import Problem, UserError
from pipeline.randomness import mix, uniform

SETTING = "--test-fraction"

_COUNTED_TOGETHER = 1 << 20


@dataclass(kw_only=True)
class Counts:
    """What must be known of a whole listing before it can be cut."""

    samples: int = 0
    groupless: int = 0
    """Samples without a group; each is one of its own."""
    groups: pa.Table | None = None
    """`group` and `count` of each."""
    _waiting: list[pa.Table] = field(default_factory=list)
    _rows_waiting: int = 0

    def counting(self, listing: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The listing, counted while it is read."""
        for batch in listing:
            self.samples += len(batch)
            if "group" in batch.schema.names:
                self.groupless += batch["group"].null_count
                self._count_groups(batch["group"].drop_null())
            yield batch
        self._merge()

    def _count_groups(self, groups: pa.Array) -> None:
        found = pc.value_counts(groups)
        table = pa.table({"group": found.field("values"), "count": found.field("counts")})
        self._waiting.append(table)
        self._rows_waiting += len(table)
        if self._rows_waiting > _COUNTED_TOGETHER:
            self._merge()

    def _merge(self) -> None:
        if self._waiting:
            every = pa.concat_tables([*([self.groups] if self.groups else []), *self._waiting])
            summed = every.group_by("group").aggregate([("count", "sum")])
            self.groups = summed.rename_columns(["group", "count"])
            self._waiting, self._rows_waiting = [], 0


class Split:
    """Says of rows, as they come in the order of the shuffle, whether they are for the test."""

    def __init__(self, counts: Counts, *, fraction: float, seed: int, grouped: bool) -> None:
        """Choose.

        Args:
            counts: of the whole listing.
            fraction: share of the samples for the test.
            seed: of the choice of groups.
            grouped: whether samples of a group stay together.

        Raises:
            UserError: one of the two sets would be empty.
        """
        self._fraction, self._seed, self._grouped = fraction, seed, grouped
        self._wanted = round(fraction * counts.samples)
        self._seen = 0
        self._chosen = pa.array([], pa.string())
        if not fraction:
            return
        if not 0 < self._wanted < counts.samples:
            raise UserError(Problem(SETTING, self._leaves_one_empty(f"{counts.samples} samples")))
        if grouped and counts.groups is not None and len(counts.groups):
            self._chosen = self._choose(counts.groups, counts)

    def _leaves_one_empty(self, of: str) -> str:
        return f"{self._fraction} of {of} leaves one of the two sets empty"

    def _choose(self, found: pa.Table, counts: Counts) -> pa.Array:
        """Whole groups in an order of their own, up to the sum that is nearest to the fraction."""
        groups = found.sort_by("group")
        names, sizes = groups["group"].to_pylist(), groups["count"].to_numpy()
        words = np.array([zlib.crc32(name.encode()) for name in names], dtype=np.int64)
        order = np.argsort(mix("group", self._seed, words), kind="stable")
        sums = np.array([0, *accumulate(sizes[order].tolist())])
        wanted = self._fraction * (counts.samples - counts.groupless)
        count = int(np.argmin(np.abs(sums - wanted)))
        if not counts.groupless:
            count = min(max(count, 1), len(names) - 1)
            if len(names) < 2:
                raise UserError(Problem(SETTING, self._leaves_one_empty("one group")))
        return pa.array([names[place] for place in order[:count]], pa.string())

    def of(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        """Whether the next rows are for the test, (n,)."""
        first, self._seen = self._seen, self._seen + len(rows)
        if not self._fraction or not self._grouped:
            return np.arange(first, self._seen) < (self._wanted if self._fraction else 0)
        alone = rows["group"].is_null().to_numpy()
        chosen = pc.is_in(rows["group"], value_set=self._chosen).to_numpy()
        draw = uniform("group", self._seed, rows["number"].to_numpy()) < self._fraction
        return np.where(alone, draw, chosen)
