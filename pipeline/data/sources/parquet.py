"""A Parquet table with a column of images, to be turned into shards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.sources.manifest import class_names
from pipeline.data.sources.source import RawSample, shuffle_keys
from pipeline.errors import Problem, UserError

_BUCKET_BYTES = 256 << 20


class ParquetSource:
    """A table with a column of encoded images: binary, or a struct with a field `bytes`."""

    def __init__(self, files: list[Path], *, labels: str | None, images: str | None) -> None:
        self._files = files
        try:
            schema = pq.read_schema(files[0])
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(Problem(str(files[0]), f"is not a Parquet file: {error}")) from error
        self._image = image_column(schema, images, paths=False)
        self._label = label_column(schema, labels)

    def classes(self) -> tuple[str, ...]:
        if self._label is None:
            return ()
        columns = (pq.read_table(path, columns=[self._label])[self._label] for path in self._files)
        labels = (column.unique().cast(pa.string()).to_pylist() for column in columns)
        return class_names([label for column in labels for label in column if label is not None])

    def __len__(self) -> int:
        return sum(pq.read_metadata(path).num_rows for path in self._files)

    def shuffled(self, seed: int) -> Iterator[RawSample]:
        size = sum(path.stat().st_size for path in self._files)
        buckets = max(1, size // _BUCKET_BYTES)
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{bucket}.arrow" for bucket in range(buckets)]
            self._distribute(seed, paths)
            for path in paths:
                table = pa.ipc.open_stream(path).read_all().sort_by("shuffle")
                for row in table.to_batches(max_chunksize=64):
                    yield from self._samples(row)

    def _distribute(self, seed: int, paths: list[Path]) -> None:
        """Range-partition rows by their hash: each bucket, sorted, continues the one before."""
        schema = pa.schema(
            [
                ("shuffle", pa.uint64()),
                ("key", pa.string()),
                ("data", pa.binary()),
                ("label", pa.string()),
            ]
        )
        writers = [pa.ipc.new_stream(path, schema) for path in paths]
        try:
            first = 0
            for file in self._files:
                for batch in pq.ParquetFile(file).iter_batches(batch_size=1024):
                    rows = self._rows(batch, seed, first, schema)
                    high = (rows["shuffle"].to_numpy() >> np.uint64(32)).astype(np.int64)
                    bucket = high * len(paths) >> 32
                    for number, writer in enumerate(writers):
                        writer.write_table(rows.filter(pa.array(bucket == number)))
                    first += len(batch)
        finally:
            for writer in writers:
                writer.close()

    def _rows(self, batch: pa.RecordBatch, seed: int, first: int, schema: pa.Schema) -> pa.Table:
        data = batch.column(self._image)
        if pa.types.is_struct(data.type):
            data = data.field("bytes")
        labels = (
            batch.column(self._label).cast(pa.string())
            if self._label
            else pa.nulls(len(batch), pa.string())
        )
        keys = [f"{first + row:012d}" for row in range(len(batch))]
        shuffle = shuffle_keys(seed, first, first + len(batch))
        return pa.table([shuffle, keys, data.cast(pa.binary()), labels], schema=schema)

    @staticmethod
    def _samples(rows: pa.RecordBatch) -> Iterator[RawSample]:
        for row in rows.to_pylist():
            yield RawSample(row["key"], row["data"] or b"", row["label"])


def image_column(schema: pa.Schema, name: str | None, *, paths: bool) -> str:
    """The column of encoded images, by name or because there is but one.

    Args:
        schema: of the table.
        name: what the user said, or None.
        paths: a column of strings that was named will do: paths beside the table.

    Raises:
        UserError: there is none of that name or none at all.
    """
    fitting = [field.name for field in schema if _is_image_type(field.type)]
    if paths:
        fitting += [f.name for f in schema if f.name == name and pa.types.is_string(f.type)]
    if name is None and len(fitting) == 1:
        return fitting[0]
    if name is None or name not in fitting:
        raise UserError(
            Problem(
                "--images",
                f"{name or 'not given'}; columns of encoded images: "
                f"{', '.join(fitting) or 'none'}, of all: {', '.join(schema.names)}",
            )
        )
    return name


def _is_image_type(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def label_column(schema: pa.Schema, name: str | None) -> str | None:
    """The column of labels: the one named, else `label` if there is one.

    Raises:
        UserError: the one named is not there.
    """
    if name == "none" or (name is None and "label" not in schema.names):
        return None
    if name is not None and name not in schema.names:
        raise UserError(
            Problem("--labels", f"{name} is not a column; columns: {', '.join(schema.names)}")
        )
    return name or "label"
