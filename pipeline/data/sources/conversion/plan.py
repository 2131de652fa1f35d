"""The plan of a conversion: every sample's place in a shard, before a shard is written.

It lies in the destination while that is being filled, so that a second start, on whatever machine,
goes on by the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data import storage
from pipeline.data.sources.conversion.order import shuffled
from pipeline.data.sources.conversion.source import Source, listing_schema
from pipeline.data.sources.conversion.splitting import SETTING, Counts, Split
from pipeline.data.sources.manifest import class_names
from pipeline.data.whole_file import local_copy, whole_file
from pipeline.errors import Problem, UserError

_MOST_CLASSES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a shuffle is cut."""

    seed: int
    samples_per_shard: int
    test_fraction: float


@dataclass(frozen=True, kw_only=True)
class PlannedSet:
    """A set of shards that will be."""

    name: str
    """Sub-folder: `train`, `test`, or none."""
    samples: int
    shards: int


@dataclass(frozen=True, kw_only=True)
class PlanFacts:
    """What a plan amounts to."""

    sets: tuple[PlannedSet, ...]
    classes: tuple[str, ...]
    groupless: int

    @property
    def samples(self) -> int:
        """Of all sets."""
        return sum(part.samples for part in self.sets)


def plan_location(folder: str, name: str) -> str:
    """Where the plan of a set lies."""
    return storage.join(folder, f"plan-{name or 'all'}.arrow")


def make_plan(
    source: Source, listing: Iterable[pa.RecordBatch], cut: Cut, *, folder: str
) -> PlanFacts:
    """Shuffle a listing, cut it into sets and shards, and write that down.

    Args:
        source: of the listing.
        listing: every sample of it.
        cut: how it is cut.
        folder: path or URI that gets a file for each set.

    Raises:
        UserError: one of the two sets would be empty.
    """
    grouped = source.grouping is not None
    schema = listing_schema(source.fields.parts, source.fields.keep, grouped=grouped)
    counts, labels = Counts(), Labels(source)
    counted = counts.counting(labels.watching(iter(listing)))
    with shuffled(counted, schema, seed=cut.seed) as tables:
        split = Split(counts, fraction=cut.test_fraction, seed=cut.seed, grouped=grouped)
        names = ("test", "train") if cut.test_fraction else ("",)
        with ExitStack() as files:
            sets = [files.enter_context(_opened(name, folder, schema, cut)) for name in names]
            for table in tables:
                for_test = pa.array(split.of(table))
                rows = labels.added_to(table)
                for planned, mask in zip(sets, (for_test, pc.invert(for_test)), strict=False):
                    planned.add(rows.filter(mask) if cut.test_fraction else rows)
    found = tuple(PlannedSet(name=s.name, samples=s.samples, shards=s.shards) for s in sets)
    if len(found) == 2 and not all(part.samples for part in found):
        message = f"{cut.test_fraction} of these groups leaves one of the two sets empty"
        raise UserError(Problem(SETTING, message))
    return PlanFacts(sets=found, classes=labels.classes(), groupless=counts.groupless)


@contextmanager
def _opened(name: str, folder: str, schema: pa.Schema, cut: Cut) -> Iterator[_SetBeingPlanned]:
    with (
        whole_file(plan_location(folder, name)) as path,
        pa.ipc.new_file(path, schema) as writer,
    ):
        planned = _SetBeingPlanned(name, writer, cut.samples_per_shard)
        yield planned
        planned.finish()


class _SetBeingPlanned:
    """Takes rows in the order of the shuffle and writes a batch for each shard."""

    def __init__(self, name: str, writer: pa.RecordBatchWriter, samples_per_shard: int) -> None:
        self.name = name
        self.samples = self.shards = 0
        self._writer = writer
        self._per_shard = samples_per_shard
        self._waiting: pa.Table | None = None

    def add(self, rows: pa.Table) -> None:
        """Write what makes whole shards, and keep the rest."""
        if self._waiting is not None:
            rows = pa.concat_tables([self._waiting, rows])
        rows = rows.combine_chunks()
        whole = len(rows) // self._per_shard * self._per_shard
        for first in range(0, whole, self._per_shard):
            self._write(rows.slice(first, self._per_shard))
        self._waiting = rows.slice(whole)

    def _write(self, rows: pa.Table) -> None:
        places = pa.array(np.arange(self.samples, self.samples + len(rows), dtype=np.int64))
        (batch,) = rows.set_column(0, "number", places).combine_chunks().to_batches()
        self._writer.write_batch(batch)
        self.samples += len(rows)
        self.shards += 1

    def finish(self) -> None:
        """Write the last shard."""
        if self._waiting is not None and len(self._waiting):
            self._write(self._waiting)


class Labels:
    """Labels of a listing: its own, or the first folders of its keys."""

    def __init__(self, source: Source) -> None:
        self._rule = source.folder_labels
        self._one_root = source.keys_have_one_root
        self._own = False
        self._ends: tuple[str, str] | None = None  # the first and the last key
        self._names: set[str] = set()
        self._labelled = self._rows = 0

    def watching(self, listing: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The listing, looked at while it is read."""
        for batch in listing:
            self._own = self._own or batch["label"].null_count < len(batch)
            if self._one_root and len(batch):
                ends = pc.min_max(batch["key"]).as_py()
                low, high = self._ends or (ends["min"], ends["max"])
                self._ends = (min(low, ends["min"]), max(high, ends["max"]))
            yield batch

    def added_to(self, table: pa.Table) -> pa.Table:
        """Rows with their labels, once the whole listing was watched."""
        if self._rule != "never" and not self._own:
            labels = self._of_folders(table["key"])
            table = table.set_column(table.schema.get_field_index("label"), "label", labels)
        column = table["label"]
        self._rows += len(column)
        self._labelled += len(column) - column.null_count
        self._names.update(name for name in pc.unique(column).to_pylist() if name is not None)
        if len(self._names) > _MOST_CLASSES:
            message = f"there are more than {_MOST_CLASSES:,} different ones, which are no classes"
            raise UserError(Problem("--labels", f"{message}; name another column, or `none`"))
        return table

    def _of_folders(self, keys: pa.ChunkedArray) -> pa.ChunkedArray:
        below = pc.utf8_slice_codeunits(keys, len(self._root()))
        parts = pc.split_pattern(below, "/", max_splits=1)
        deep = pc.greater(pc.list_value_length(parts), 1)
        return pc.list_element(pc.if_else(deep, parts, None), 0)

    def _root(self) -> str:
        """The folder that all keys lie in, as the first and the last have it, with its slash."""
        low, high = (key.split("/")[:-1] for key in self._ends or ("", ""))
        same = takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False))
        return "".join(f"{name}/" for name, _ in same)

    def classes(self) -> tuple[str, ...]:
        """Names of the labels; none where folders were only looked at, and most files in none.

        Raises:
            UserError: labels were to be folders, and no file lies in one.
        """
        if self._rule == "always" and not self._labelled:
            raise UserError(Problem("--labels", "folder, but all images lie in no sub-folder"))
        if self._rule == "mostly" and not self._own and 2 * self._labelled < self._rows:
            return ()
        return class_names(list(self._names))


def planned_shards(folder: str, part: PlannedSet) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Numbers and rows of a set's shards, as `listing_schema` has them; `number` is the place.

    Raises:
        OSError: the plan cannot be read.
    """
    with local_copy(plan_location(folder, part.name)) as path, pa.memory_map(path) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield number, reader.get_batch(number)
