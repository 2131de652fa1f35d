"""The third stage: a range's vectors to a Parquet file, in a task of Ray's."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.accounting import LedgerEntry, write_ledger
from pipeline.data.reading.shard_reader import ShardReader
from pipeline.embedding.ranges import Range
from pipeline.embedding.rows import OUTAGES, VECTORS, binary_of, is_stopped, range_of, stopped

VECTORS_FOLDER = "vectors"
BAD_FOLDER = "bad"
"""Of the ledgers of single ranges, until all are done and they are joined."""


_TOLD = pa.schema(
    [
        ("number", pa.int64()),
        ("samples", pa.int64()),
        ("bad", pa.int64()),
        ("error", pa.string()),
        ("outage", pa.string()),
        ("mistake", pa.string()),
    ]
)


def schema_of(*, dtype: str, width: int, labelled: bool) -> pa.Schema:
    """Columns of the files; the label is a class's name."""
    columns = [
        ("sample_id", pa.int64()),
        ("shard", pa.string()),  # as the manifest has it
        ("key", pa.string()),
        ("vector", pa.list_(pa.type_for_alias(dtype), width)),
    ]
    return pa.schema([*columns, ("label", pa.string())] if labelled else columns)


def files_below(destination: str) -> list[str]:
    """Locations of the files of ranges that are there, in the order of their samples.

    Raises:
        OSError: the destination cannot be listed.
    """
    try:
        files = storage.list_files(storage.join(destination, VECTORS_FOLDER))
    except FileNotFoundError:
        return []
    return [file for file in files if storage.file_name(file).endswith(".parquet")]


@dataclass(frozen=True, kw_only=True)
class RangeWriter:
    """Writes ranges; small enough to travel with every task."""

    shards: str  # absolute location of the manifest's folder
    destination: str
    dtype: str
    width: int

    def __call__(self, row: pa.Table) -> pa.Table:
        """Write a range's file, whole or not at all, and before it the ledger of its bad samples.

        Args:
            row: of `RangeEncoder`.

        Returns:
            `number` of the range, its `samples` and how many of them are `bad`, the `error` of the
            first bad one, and the `outage` or `mistake` if it could not be done.
        """
        if not is_stopped(row):
            try:
                self._write(row)
            except OUTAGES as error:
                row = stopped(row, "outage", error)
        part = range_of(row)
        bad = row["bad_error"][0].as_py()
        told = {
            "number": part.number,
            "samples": part.stop - part.start,
            "bad": len(bad),
            "error": next(iter(bad), None),
            "outage": row["outage"][0].as_py(),
            "mistake": row["mistake"][0].as_py(),
        }
        return pa.Table.from_pylist([told], schema=_TOLD)

    def _write(self, row: pa.Table) -> None:
        part = range_of(row)
        errors = dict(zip(row["bad_id"][0].as_py(), row["bad_error"][0].as_py(), strict=True))
        if errors:
            self._write_bad(part, errors)
        manifest, _, shard = load_corpus((self.shards,)).shard(part.shard)
        schema = schema_of(dtype=self.dtype, width=self.width, labelled=bool(manifest.classes))
        columns = {name: pa.array(row[name][0].values) for name in ("sample_id", "key", "label")}
        count = len(columns["sample_id"])
        vectors = binary_of(row, VECTORS, self.dtype, (count * self.width,))
        columns["shard"] = pa.repeat(shard.path, count)
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors), self.width)
        table = pa.table([columns[name] for name in schema.names], schema=schema)
        written = io.BytesIO()
        pq.write_table(table, written, compression="zstd", use_dictionary=["shard", "label"])
        location = storage.join(storage.join(self.destination, VECTORS_FOLDER), part.file)
        storage.write_file(location, written.getvalue(), attempts=storage.PATIENT)

    def _write_bad(self, part: Range, errors: dict[int, str]) -> None:
        with ShardReader(load_corpus((self.shards,))) as shards:
            found = {sample_id: shards.describe(sample_id) for sample_id in errors}
        entries = [
            LedgerEntry(
                sample_id=sample_id,
                shard=shard.path,
                key=key,
                offset=offset,
                error=errors[sample_id],
                epoch=0,
            )
            for sample_id, (shard, key, offset) in found.items()
        ]
        write_ledger(storage.join(storage.join(self.destination, BAD_FOLDER), part.file), entries)
