"""The index of each shard: where every sample's bytes lie, its key, its label and what was kept.

Of a sample of several images in a tar, `offset` and `size` are the first one's; those of another
are in columns of its name, `right.offset` and `right.size`. Columns that `jobs shard --keep` kept
are strings of their own names after `kept.`.
"""

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


KEPT = "kept."


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

    def places(self, part: str | None) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where the samples' images of a name lie in a tar: offsets and sizes, both (n,) int64.

        Args:
            part: the name; None: the first one's, or the only one's.

        Raises:
            KeyError: the samples have no image of that name, or it is the first one's.
        """
        if part is None:
            return self.offset, self.size
        names = offset_column(part), size_column(part)
        offset, size = (self._table[name].to_numpy() for name in names)
        return offset, size

    def kept(self, column: str) -> pa.Array:
        """A column that was kept: strings, null where the source had nothing.

        Raises:
            KeyError: none of that name was.
        """
        return self._table[KEPT + column].combine_chunks()


def write_index(
    location: str | Path,
    *,
    keys: Sequence[str],
    offsets: Sequence[int],
    sizes: Sequence[int],
    labels: Sequence[str | None],
    more: Mapping[str, Sequence[int] | Sequence[str | None]] | None = None,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write a shard's index, with facts about the shard in the file's metadata.

    Args:
        location: of the index.
        keys: of the samples.
        offsets: of their images.
        sizes: of their images.
        labels: names of classes.
        more: columns of a sample's further images (`offset_column`, `size_column`; int64) and of
            what was kept (`kept_column`; strings).
        facts: of the shard.
    """
    columns = {"key": keys, "offset": offsets, "size": sizes, "label": labels, **(more or {})}
    extra = [
        pa.field(name, pa.string() if name.startswith(KEPT) else pa.int64()) for name in more or ()
    ]
    schema = pa.schema([*SCHEMA, *extra]).with_metadata(dict(facts or {}))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema), sink)
    storage.write_file(str(location), sink.getvalue().to_pybytes())


def offset_column(part: str) -> str:
    """The index's column of where in a tar a sample's image of that name begins."""
    return f"{part}.offset"


def size_column(part: str) -> str:
    """The index's column of how many bytes a sample's image of that name has in a tar."""
    return f"{part}.size"


def kept_column(name: str) -> str:
    """The index's column of a column that was kept."""
    return KEPT + name


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
        return ShardIndex(pq.read_table(location))
    return ShardIndex(pq.read_table(pa.py_buffer(storage.read_file(location))))
