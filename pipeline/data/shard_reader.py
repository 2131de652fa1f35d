"""Random access to the encoded samples of a manifest, by sample id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.index import ShardIndex, load_index
from pipeline.data.manifest import Ids, Manifest, Shard, locate

IMAGE_COLUMN = "image"


class ShardReader:
    """Reads samples' bytes; opens each shard once, closes all of them with `close`."""

    def __init__(self, manifest: Manifest, root: Path) -> None:
        """Prepare to read.

        Args:
            manifest: the data set.
            root: the manifest's folder.
        """
        self.boundaries = manifest.boundaries()
        self._shards = manifest.shards
        self._root = root
        self._tars: dict[int, int] = {}
        self._tables: dict[int, pq.ParquetFile] = {}

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every open shard."""
        for descriptor in self._tars.values():
            os.close(descriptor)
        for table in self._tables.values():
            table.close()
        self._tars.clear()
        self._tables.clear()

    def read(self, sample_ids: Ids) -> list[bytes]:
        """Encoded bytes of samples, in the order asked for.

        Raises:
            OSError: a shard is missing or unreadable.
        """
        shards, rows = locate(self.boundaries, sample_ids)
        found: dict[int, bytes] = {}
        for shard in sorted(set(shards.tolist())):
            wanted = [int(i) for i in (shards == shard).nonzero()[0]]
            wanted_rows = [int(rows[i]) for i in wanted]
            read = self._read_tar if self._shards[shard].format == "tar" else self._read_parquet
            found.update(zip(wanted, read(shard, wanted_rows), strict=True))
        return [found[i] for i in range(len(sample_ids))]

    def describe(self, sample_id: int) -> tuple[Shard, str, int]:
        """Shard, key and offset of one sample, for a ledger or a message."""
        shard, row = (int(v[0]) for v in locate(self.boundaries, np.array([sample_id])))
        index = self._index(shard)
        return self._shards[shard], index.key(row), int(index.offset[row])

    def labels(self) -> Ids:
        """Labels of all samples in sequence order; (n,) int64, -1 where there is none."""
        return np.concatenate([self._index(s).labels() for s in range(len(self._shards))])

    def _index(self, shard: int) -> ShardIndex:
        return load_index(str(self._root / self._shards[shard].index_path))

    def _read_tar(self, shard: int, rows: list[int]) -> Iterator[bytes]:
        if shard not in self._tars:
            self._tars[shard] = os.open(self._root / self._shards[shard].path, os.O_RDONLY)
        index = self._index(shard)
        for row in rows:
            size, offset = int(index.size[row]), int(index.offset[row])
            data = os.pread(self._tars[shard], size, offset)
            if len(data) != size:
                raise OSError(f"{self._shards[shard].path} ends before byte {offset + size}")
            yield data

    def _read_parquet(self, shard: int, rows: list[int]) -> Iterator[bytes]:
        if shard not in self._tables:
            path = self._root / self._shards[shard].path
            self._tables[shard] = pq.ParquetFile(path, memory_map=True)
        index = self._index(shard)
        groups: dict[int, pa.ChunkedArray] = {}
        for row in rows:
            group = int(index.offset[row])
            if group not in groups:
                table = self._tables[shard].read_row_group(group, columns=[IMAGE_COLUMN])
                groups[group] = table[IMAGE_COLUMN]
            yield groups[group][int(index.size[row])].as_py()
