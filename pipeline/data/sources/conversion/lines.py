"""Tables of text as people keep them: csv, tsv, JSON lines, Parquet; read piece by piece.

Every value becomes a string, empty ones none. Lines that do not fit are passed over and counted,
for a list of ten million has some.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.errors import Problem, UserError

DELIMITED = (".csv", ".tsv")
JSON_LINES = (".jsonl", ".ndjson")

_LINES_TOGETHER = 1 << 16
_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 8 << 20
_LONGEST_LINE = 16 << 20
_LONGEST_NAME = 4096


class Lines:
    """A table of text at a location: its columns, and its rows in pieces."""

    def __init__(self, location: str) -> None:
        """Look at its beginning.

        Raises:
            UserError: it is not there, not UTF-8, or no table.
        """
        self.location = location
        self.passed_over = 0
        """Lines that could not be read so far."""
        try:
            if storage.size_of(location) is None:
                raise UserError(Problem(location, "does not exist"))
            self.columns: tuple[str, ...] = self._columns()
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        if not any(self.columns):
            raise UserError(Problem(location, "has no columns"))

    def _columns(self) -> tuple[str, ...]:
        if self._is(".parquet"):
            store, path = storage.resolve(self.location)
            return tuple(pq.read_schema(path, filesystem=store).names)
        head = storage.read_range(self.location, 0, _HEAD_BYTES).decode("utf-8-sig", "replace")
        first = next((line for line in head.splitlines() if line.strip()), "")
        if self._is(*JSON_LINES):
            row = json.loads(first)
            if not isinstance(row, dict):
                raise ValueError("its first line is no JSON object")
            return tuple(row)
        self._delimiter = "\t" if self._is(".tsv") else ","
        with self._csv(()) as reader:
            self._names = {name.strip(): name for name in reader.schema.names}
        return tuple(self._names)

    def _is(self, *endings: str) -> bool:
        return storage.file_name(self.location).lower().endswith(endings)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Rows in order: the columns named, all strings, null where there is nothing.

        Raises:
            UserError: it cannot be read.
        """
        try:
            yield from self._batches(list(dict.fromkeys(columns)))
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if self._is(".parquet"):
            yield from self._from_parquet(columns)
        elif self._is(*JSON_LINES):
            yield from self._from_json(columns)
        else:
            with self._csv(columns) as reader:
                for batch in reader:
                    yield _as_text(batch.rename_columns(columns))

    def _from_parquet(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        store, path = storage.resolve(self.location)
        with pq.ParquetFile(path, filesystem=store) as file:
            for batch in file.iter_batches(_LINES_TOGETHER, columns=columns):
                yield _as_text(batch.select(columns))

    def _from_json(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        store, path = storage.resolve(self.location)
        with store.open_input_stream(path, buffer_size=_BLOCK_BYTES) as stream:
            buffered = io.BufferedReader(stream, _BLOCK_BYTES)
            # Without an end of lines a file is no list, and must not be taken into memory as one.
            lines = iter(lambda: buffered.readline(_LONGEST_LINE), b"")
            while chunk := list(islice(lines, _LINES_TOGETHER)):
                rows = [row for row in map(self._row, chunk) if row is not None]
                yield _as_text(
                    pa.record_batch(
                        {
                            name: pa.array([_text(row.get(name)) for row in rows], pa.string())
                            for name in columns
                        }
                    )
                )

    def _row(self, line: bytes) -> dict[str, Any] | None:
        if not line.strip():
            return None
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            return row
        self.passed_over += 1
        return None

    def _csv(self, columns: Sequence[str]) -> pcsv.CSVStreamingReader:
        store, path = storage.resolve(self.location)
        # Types of other columns would be guessed by the first lines, and later ones not fit.
        names = [self._names[name] for name in columns]
        return pcsv.open_csv(
            store.open_input_stream(path, buffer_size=_BLOCK_BYTES),
            read_options=pcsv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
            parse_options=pcsv.ParseOptions(
                delimiter=self._delimiter,
                newlines_in_values=True,
                invalid_row_handler=self._pass_over,
            ),
            convert_options=pcsv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                include_columns=names,
                strings_can_be_null=False,
            ),
        )

    def refuse_no_names(self, batch: pa.RecordBatch, columns: Iterable[str]) -> None:
        """See that values are names: of one line, and not endless, as behind a lost quote.

        Raises:
            UserError: one is none.
        """
        for column in columns:
            if pc.any(pc.match_substring(batch[column], "\n")).as_py():
                message = f"a value of {column} goes over several lines; is a quote not closed?"
                raise UserError(Problem(self.location, message))
            longest = pc.max(pc.utf8_length(batch[column])).as_py() or 0
            if longest > _LONGEST_NAME:
                message = f"a value of {column} has {longest:,} characters, at most {_LONGEST_NAME}"
                raise UserError(Problem(self.location, message))

    def _pass_over(self, row: pcsv.InvalidRow) -> str:
        self.passed_over += 1
        return "skip"

    def _unreadable(self, error: Exception) -> UserError:
        reason = " ".join(str(error).split())
        said = "is not UTF-8" if "UTF8" in reason or "utf-8" in reason else "cannot be read"
        return UserError(Problem(self.location, f"{said}: {reason}"))


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | list | dict) else str(value)


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """All columns as strings, empty ones null."""
    columns = [_without_empty(column.cast(pa.string())) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _without_empty(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(column, ""), None, column)
