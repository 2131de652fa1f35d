"""A table that says more of files that lie elsewhere: their labels, and columns to keep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data import storage
from pipeline.data.sources.conversion.grouping import Grouping
from pipeline.data.sources.conversion.lines import Lines
from pipeline.data.sources.conversion.source import Told
from pipeline.data.sources.index import KEPT
from pipeline.errors import Problem, UserError

FILE_COLUMNS = ("file", "path", "image", "file_name", "filename", "uri", "url")
"""Names of a column of files, the first that is there."""

_EXAMPLES = 3


class FactsOfFiles:
    """A table with a column of files and, for instance, one of labels."""

    def __init__(self, location: str, *, keep: Sequence[str]) -> None:
        """Look at its columns.

        Raises:
            UserError: it is not there, or has no such columns.
        """
        if storage.size_of(location) is None:
            message = f"{location} is neither `folder`, `none` nor a csv file"
            raise UserError(Problem("--labels", message))
        self._lines = Lines(location)
        self.columns = self._lines.columns
        self._file = file_column(self.columns)
        missing = [name for name in keep if name not in self.columns]
        if self._file is None or "label" not in self.columns:
            has = ", ".join(self.columns)
            raise UserError(Problem(location, f"needs the columns file and label, has {has}"))
        if missing:
            raise UserError(no_column("--keep", missing, self.columns))
        self._keep = tuple(keep)

    def joined(self, root: str, grouping: Grouping | None) -> Join:
        """The table in memory, to be joined to listings of files below a folder.

        Raises:
            UserError: it cannot be read.
        """
        group = grouping.column if grouping else None
        wanted = [str(self._file), "label", *self._keep, *([group] if group else [])]
        named = [str(self._file), "label", *([group] if group else [])]
        batches = []
        for batch in self._lines.batches(wanted):
            self._lines.refuse_no_names(batch, named)
            batches.append(batch)
        table = pa.Table.from_batches(batches).combine_chunks()
        names = _below(root, table[str(self._file)])
        columns = {"label": table["label"]} | {KEPT + name: table[name] for name in self._keep}
        if group:
            columns["group"] = table[group]
        return Join(self._lines, names, columns)


def file_column(columns: Sequence[str]) -> str | None:
    """The column that names files, None without one."""
    return next((name for name in FILE_COLUMNS if name in columns), None)


def no_column(setting: str, missing: Sequence[str], columns: Sequence[str]) -> Problem:
    """That a table has no such columns."""
    return Problem(setting, f"{', '.join(missing)}: columns are {', '.join(columns)}")


class Join:
    """Adds what a table says to listings, and knows what of it nothing asked for."""

    def __init__(self, lines: Lines, names: pa.Array, columns: dict[str, pa.ChunkedArray]) -> None:
        self._lines = lines
        self._names = names
        self._columns = columns
        self._asked_for = np.zeros(len(names), dtype=bool)

    def add_to(self, listing: pa.RecordBatch) -> pa.RecordBatch:
        """The listing with the table's columns in it."""
        rows = pc.index_in(listing["key"], value_set=self._names, skip_nulls=True)
        self._asked_for[rows.drop_null().to_numpy()] = True
        columns = {
            name: _at(self._columns[name], rows) if name in self._columns else listing[name]
            for name in listing.schema.names
        }
        return pa.RecordBatch.from_pydict(columns, schema=listing.schema)

    def named_but_not_listed(self, root: str) -> list[bytes]:
        """Files below a folder that only the table names: hidden ones, which are then meant."""
        if storage.is_remote(root):
            return []
        names = sorted({n for n in self._names.filter(pa.array(~self._asked_for)).to_pylist() if n})
        return [name.encode() for name in names if Path(root, name).is_file()]

    def tell(self, told: Told) -> None:
        """Lines that name nothing, or name it again, and those that are none."""
        location = self._lines.location
        unknown = pc.unique(self._names.filter(pa.array(~self._asked_for)).drop_null())
        again = self._again()
        unknown = unknown.filter(pc.invert(pc.is_in(unknown, value_set=again)))
        if len(unknown):
            some = ", ".join(unknown[:_EXAMPLES].to_pylist())
            told.notes.append(f"{len(unknown)} lines of {location} name no image: {some}")
        if len(again):
            some = ", ".join(again[:_EXAMPLES].to_pylist())
            told.notes.append(f"{location} names some files again; the first line counts: {some}")
        if self._lines.passed_over:
            told.notes.append(f"{self._lines.passed_over} lines of {location} cannot be read")

    def _again(self) -> pa.Array:
        counts = pc.value_counts(self._names.drop_null())
        return counts.field("values").filter(pc.greater(counts.field("counts"), 1))


def _below(root: str, names: pa.ChunkedArray) -> pa.Array:
    """Names as a listing of the folder has them."""
    column = names.combine_chunks()
    column = column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)
    folder = root.rstrip("/") + "/"
    inside = pc.starts_with(column, pattern=folder)
    column = pc.if_else(inside, pc.utf8_slice_codeunits(column, len(folder)), column)
    return pc.replace_substring_regex(column, r"^(\./)+", "")


def _at(column: pa.ChunkedArray, rows: pa.Array) -> pa.Array:
    found = column.take(rows)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
