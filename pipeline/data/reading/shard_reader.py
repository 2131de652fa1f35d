"""Random access to the encoded samples of a corpus, by sample id."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property

import numpy as np
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.config import DEFAULT_CACHE_BYTES
from pipeline.data.order.corpus import Corpus
from pipeline.data.reading.parquet_cells import bytes_of, column_of, group_range
from pipeline.data.reading.shard_cache import Range, ShardCache, merge, split
from pipeline.data.sources.index import ShardIndex, load_index
from pipeline.data.sources.manifest import Ids, Manifest, Shard

Request = tuple[int, Range]  # a shard's number in the corpus, bytes of it

_OPEN_SHARDS = 128
_SHARDS_AT_A_TIME = 8  # fetched from; each by a few requests
_FOOTER_BYTES = 1 << 20


class ShardReader:
    """Reads samples' bytes; keeps the last local shards open, closes them with `close`."""

    def __init__(
        self,
        corpus: Corpus,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        parts: tuple[str, ...] = (),
    ) -> None:
        """Prepare to read.

        Args:
            corpus: the data.
            cache_bytes: disk that a node's copies of remote shards may take.
            parts: names of the images that are read of a sample of several, in this order; (): the
                first one, or the only one.
        """
        self._corpus = corpus
        self._cache_bytes = cache_bytes
        self._parts = parts
        self._open: OrderedDict[int, int] = OrderedDict()

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every open shard."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def read(self, sample_ids: Ids) -> list[bytes]:
        """As `read_parts`, of each sample one image: the first of the parts."""
        return [images[0] for images in self.read_parts(sample_ids)]

    def read_parts(self, sample_ids: Ids) -> list[tuple[bytes, ...]]:
        """Encoded bytes of samples, in the order asked for; fewer bytes where a shard ends early.

        Args:
            sample_ids: (n,) int64. What of them a remote shard holds is fetched now, unless `fetch`
                has done so in larger requests.

        Returns:
            For each sample its images: as many as the reader has parts, or one.

        Raises:
            OSError: a shard is missing or unreadable.
            KeyError: the samples of a manifest have not all of the parts.
        """
        entries, rows = self._corpus.locate(sample_ids)
        found: list[tuple[bytes, ...]] = [()] * len(sample_ids)
        for entry in np.unique(entries):
            places = np.flatnonzero(entries == entry)
            data = self._read_shard(int(entry), rows[places])
            for place, value in zip(places.tolist(), data, strict=True):
                found[place] = value
        return found

    def requests(self, runs: Ids) -> list[Request]:
        """The large requests in which what remote shards hold of some runs is fetched.

        Args:
            runs: (k, 2) int64, first id and the id after the last, each in one shard.

        Raises:
            OSError: an index or a footer cannot be read.
        """
        entries = np.unique(self._corpus.locate(runs[:, 0])[0]).tolist()
        with ThreadPoolExecutor(min(len(entries), _SHARDS_AT_A_TIME)) as pool:
            found = pool.map(lambda entry: self._ranges(entry, self._rows(entry, runs)), entries)
            return [
                (entry, request)
                for entry, ranges in zip(entries, found, strict=True)
                for request in split(ranges)
            ]

    def fetch(self, requests: Sequence[Request]) -> None:
        """Have the node's cache fetch what it has not of some requests.

        Raises:
            OSError: the store failed again and again, or the disk is full.
        """
        wanted: dict[int, list[Range]] = {}
        for entry, request in requests:
            wanted.setdefault(entry, []).append(request)
        due = [entry for entry, ranges in wanted.items() if self._lacks(entry, ranges)]
        if due:
            with ThreadPoolExecutor(min(len(due), _SHARDS_AT_A_TIME)) as pool:
                list(pool.map(lambda entry: self._fetch_ranges(entry, wanted[entry]), due))

    def _lacks(self, entry: int, ranges: Sequence[Range]) -> bool:
        _, root, shard = self._corpus.shard(entry)
        location = storage.join(root, shard.path)
        return self._cache.lacks(location, version=shard.sha256, ranges=ranges)

    def _fetch_ranges(self, entry: int, ranges: Sequence[Range]) -> None:
        _, root, shard = self._corpus.shard(entry)
        with self._copy(storage.join(root, shard.path), shard, ranges):
            pass

    def describe(self, sample_id: int) -> tuple[Shard, str, int]:
        """Shard, key and offset of one sample, for a ledger or a message."""
        entry, row = (int(v[0]) for v in self._corpus.locate(np.array([sample_id])))
        shard, index = self._corpus.shard(entry)[2], self._index(entry)
        return shard, index.key(row), int(index.offset[row])

    def keys(self, sample_ids: Ids) -> list[tuple[str, str]]:
        """Paths of shards, as their manifests have them, and keys of samples (n,) int64.

        Raises:
            OSError: an index cannot be read.
        """
        entries, rows = self._corpus.locate(sample_ids)
        found = [("", "")] * len(sample_ids)

        def fill(entry: int) -> None:
            shard, index = self._corpus.shard(entry)[2], self._index(entry)
            for place in np.flatnonzero(entries == entry).tolist():
                found[place] = shard.path, index.key(int(rows[place]))

        with ThreadPoolExecutor(_SHARDS_AT_A_TIME) as pool:
            list(pool.map(fill, np.unique(entries).tolist()))
        return found

    def _index(self, entry: int) -> ShardIndex:
        _, root, shard = self._corpus.shard(entry)
        return load_index(storage.join(root, shard.index_path))

    def _rows(self, entry: int, runs: Ids) -> Ids:
        """Those runs of ids that lie in a shard, as rows of it; (k, 2) int64."""
        low, high = self._corpus.boundaries[entry : entry + 2]
        here = runs[(runs[:, 0] >= low) & (runs[:, 1] <= high)]
        return here - low

    def _ranges(self, entry: int, runs: Ids) -> list[Range]:
        """Bytes of runs of rows of a remote shard; none of a local one."""
        manifest, root, shard = self._corpus.shard(entry)
        location, index = storage.join(root, shard.path), self._index(entry)
        if not storage.is_remote(location):
            return []
        if shard.format == "tar":
            places = self._places(manifest, index)
            ranges = (_range(at, size, *run) for at, size in places for run in runs.tolist())
            return merge(ranges, bridge=0)
        metadata = self._footer(location, shard)
        groups = {int(g) for low, high in runs for g in np.unique(index.offset[low:high])}
        columns = self._columns(manifest)
        return merge((group_range(metadata, g, c) for g in groups for c in columns), bridge=0)

    def _places(self, manifest: Manifest, index: ShardIndex) -> list[tuple[Ids, Ids]]:
        """Offsets and sizes in a tar of each of the parts, (n,) int64."""
        first = manifest.parts[:1]
        return [
            index.places(None if name in first else name)
            for name in self._parts or first or (None,)
        ]

    def _columns(self, manifest: Manifest) -> tuple[str, ...]:
        """Parquet's columns of the parts."""
        return self._parts or manifest.parts[:1] or (manifest.image_column,)

    def _read_shard(self, entry: int, rows: Ids) -> list[tuple[bytes, ...]]:
        manifest, root, shard = self._corpus.shard(entry)
        index = self._index(entry)
        location = storage.join(root, shard.path)
        if shard.format == "tar":
            places = [(at[rows], size[rows]) for at, size in self._places(manifest, index)]
            return self._read_tar(entry, location, shard, places)
        return self._read_parquet(location, manifest, shard, index, rows)

    def _read_tar(
        self, entry: int, location: str, shard: Shard, places: list[tuple[Ids, Ids]]
    ) -> list[tuple[bytes, ...]]:
        samples = [
            [*zip(offsets.tolist(), sizes.tolist(), strict=True)] for offsets, sizes in places
        ]
        ranges = [(at, at + size) for images in samples for at, size in images]
        with self._descriptor(entry, location, shard, ranges) as file:
            parts = [[os.pread(file, size, at) for at, size in images] for images in samples]
        return [*zip(*parts, strict=True)]

    @contextmanager
    def _descriptor(
        self, entry: int, location: str, shard: Shard, ranges: Sequence[Range]
    ) -> Iterator[int]:
        if storage.is_remote(location):
            with self._copy(location, shard, ranges) as descriptor:
                yield descriptor
            return
        if entry not in self._open:
            if len(self._open) >= _OPEN_SHARDS:
                os.close(self._open.popitem(last=False)[1])
            self._open[entry] = os.open(location, os.O_RDONLY)
        self._open.move_to_end(entry)
        yield self._open[entry]

    @cached_property
    def _cache(self) -> ShardCache:
        return ShardCache(capacity=self._cache_bytes)

    def _copy(
        self, location: str, shard: Shard, ranges: Sequence[Range]
    ) -> AbstractContextManager[int]:
        return self._cache.open(location, version=shard.sha256, ranges=ranges)

    def _read_parquet(
        self,
        location: str,
        manifest: Manifest,
        shard: Shard,
        index: ShardIndex,
        rows: Ids,
    ) -> list[tuple[bytes, ...]]:
        groups = index.offset[rows]
        wanted = {int(g) for g in np.unique(groups)}
        names = self._columns(manifest)
        with self._parquet(location, shard, names, wanted) as file:
            # One by one, so that a damaged one does not take the others with it.
            columns = {g: [column_of(file, g, name) for name in names] for g in wanted}
        places = zip(groups.tolist(), index.size[rows].tolist(), strict=True)
        return [
            tuple(bytes_of(column, row, location) for column in columns[group])
            for group, row in places
        ]

    @contextmanager
    def _parquet(
        self, location: str, shard: Shard, columns: Sequence[str], groups: set[int]
    ) -> Iterator[pq.ParquetFile]:
        if not storage.is_remote(location):
            with pq.ParquetFile(location, memory_map=True) as file:
                yield file
            return
        metadata = self._footer(location, shard)
        ranges = [group_range(metadata, g, column) for g in sorted(groups) for column in columns]
        with (
            self._copy(location, shard, [_footer_range(shard), *ranges]) as descriptor,
            pq.ParquetFile(os.fdopen(os.dup(descriptor), "rb"), metadata=metadata) as file,
        ):
            yield file

    def _footer(self, location: str, shard: Shard) -> pq.FileMetaData:
        with self._copy(location, shard, [_footer_range(shard)]) as descriptor:
            return pq.read_metadata(os.fdopen(os.dup(descriptor), "rb"))


def read_labels(corpus: Corpus, source: int = 0, *, at_most: int) -> Ids:
    """Labels of the first samples of one manifest; (n,) int64, -1 without one."""
    manifest, root = corpus.manifests[source], corpus.root(source)
    labels: list[Ids] = []
    for shard in manifest.shards:
        labels.append(load_index(storage.join(root, shard.index_path)).labels(manifest.classes))
        if sum(map(len, labels)) >= at_most:
            break
    return np.concatenate(labels)[:at_most]


def _range(offsets: Ids, sizes: Ids, low: int, high: int) -> Range:
    """The bytes of a run of rows, in whatever order they lie."""
    here = slice(low, high)
    return int(offsets[here].min()), int((offsets[here] + sizes[here]).max())


def _footer_range(shard: Shard) -> Range:
    return max(0, shard.bytes - _FOOTER_BYTES), shard.bytes
