"""The index beside each shard: where every sample's bytes lie, its key and its label."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # unique in its shard; in a tar the member's name without extension
        ("offset", pa.int64()),  # tar: byte offset of the image; Parquet: row group
        ("size", pa.int64()),  # tar: bytes of the image; Parquet: row in the row group
        ("label", pa.int32()),  # index into the manifest's classes; null without a label
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

    def labels(self) -> npt.NDArray[np.int64]:
        """Labels (n,) int64, -1 where there is none."""
        return self._table["label"].fill_null(-1).to_numpy().astype(np.int64)


def write_index(
    path: Path,
    *,
    keys: Sequence[str],
    offsets: Sequence[int],
    sizes: Sequence[int],
    labels: Sequence[int | None],
) -> None:
    """Write a shard's index."""
    columns = {"key": keys, "offset": offsets, "size": sizes, "label": labels}
    pq.write_table(pa.table(columns, schema=SCHEMA), path)


def load_index(path: str) -> ShardIndex:
    """Read a shard's index, or remember it if the file is the one that was read before."""
    return _load_cached(path, Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _load_cached(path: str, modified: int) -> ShardIndex:
    del modified  # part of the key
    return ShardIndex(pq.read_table(path, schema=SCHEMA))
