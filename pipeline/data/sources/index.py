"""The index of each shard: where every sample's bytes lie, its key and its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data import storage

SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # unique in its shard; in a tar the member's name without extension
        ("offset", pa.int64()),  # tar: byte offset of the image; Parquet: row group
        ("size", pa.int64()),  # tar: bytes of the image; Parquet: row in the row group
        ("label", pa.string()),  # name of the class; null without a label
    ]
)


class ShardIndex:
    """An index in memory: (n,) arrays with a row for each sample of the shard."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.offset: npt.NDArray[np.int64] = table["offset"].to_numpy()
        self.size: npt.NDArray[np.int64] = table["size"].to_numpy()

    def key(self, row: int) -> str:
        """The key of one sample."""
        return str(self._table["key"][row].as_py())

    def keys(self) -> pa.Array:
        """The keys of all samples, strings."""
        return self._table["key"].combine_chunks()

    def keys_and_labels(self, start: int, stop: int) -> pa.Table:
        """`key` and `label` (null without one) of the samples from one row to before another."""
        return self._table.select(["key", "label"]).slice(start, stop - start)

    def labels(self, classes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Labels (n,) int64 as indexes into the class names, -1 where there is none."""
        names = pa.array(classes, pa.string())
        found = pc.index_in(self._table["label"], value_set=names, skip_nulls=True)
        return found.fill_null(-1).to_numpy().astype(np.int64)


def write_index(
    location: str | Path,
    *,
    keys: Sequence[str],
    offsets: Sequence[int],
    sizes: Sequence[int],
    labels: Sequence[str | None],
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write a shard's index, with facts about the shard in the file's metadata."""
    columns = {"key": keys, "offset": offsets, "size": sizes, "label": labels}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=SCHEMA.with_metadata(dict(facts or {}))), sink)
    storage.write_file(str(location), sink.getvalue().to_pybytes())


def load_index(location: str) -> ShardIndex:
    """Read a shard's index, or remember it if the file is the one that was read before.

    Raises:
        OSError: it cannot be read.
    """
    modified = 0 if storage.is_remote(location) else Path(location).stat().st_mtime_ns
    return _load_cached(location, modified)


@lru_cache(maxsize=256)
def _load_cached(location: str, modified: int) -> ShardIndex:
    del modified  # part of the key
    if not storage.is_remote(location):
        return ShardIndex(pq.read_table(location, schema=SCHEMA))
    return ShardIndex(pq.read_table(pa.py_buffer(storage.read_file(location)), schema=SCHEMA))
