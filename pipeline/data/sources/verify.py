"""Compares a manifest with the files it lists, without reading the samples."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.sources.manifest import (
    Manifest,
    Shard,
    load_manifest,
    manifest_path,
    manifest_root,
)
from pipeline.errors import Problem, UserError

_CHECKED_SHARDS = 1000


def verify(folder: str | Path) -> list[Problem]:
    """Compare a manifest with its files; of more than 1000 shards, with 1000 spread over them.

    Returns:
        A problem for each shard or index that is missing, or has another size or count.
    """
    try:
        manifest = load_manifest(folder)
    except UserError as error:
        return error.problems
    root = manifest_root(folder)
    problems = list(_broken_sequence(manifest, manifest_path(folder)))
    count = len(manifest.shards)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _CHECKED_SHARDS)).astype(np.int64))
    shards = [manifest.shards[int(number)] for number in chosen]
    with ThreadPoolExecutor(max_workers=16) as pool:
        for found in pool.map(lambda shard: list(_faults(root, shard)), shards):
            problems += found
    return problems


def _broken_sequence(manifest: Manifest, path: str) -> Iterator[Problem]:
    first_ids = manifest.shards.table["first_id"].to_numpy()
    expected = manifest.boundaries()[:-1]
    for number in np.flatnonzero(first_ids != expected)[:3]:
        shard = manifest.shards[int(number)]
        yield Problem(
            path, f"{shard.path} starts at id {shard.first_id}, {expected[number]} expected"
        )
    if not len(manifest.shards):
        yield Problem(path, "lists no shard")


def _faults(root: str, shard: Shard) -> Iterator[Problem]:
    location = storage.join(root, shard.path)
    size = storage.size_of(location)
    if size is None:
        yield Problem(location, "the manifest lists this shard, but it is missing")
    elif size != shard.bytes:
        yield Problem(location, f"has {size} bytes, the manifest says {shard.bytes}")
    yield from _index_faults(storage.join(root, shard.index_path), shard)


def _index_faults(location: str, shard: Shard) -> Iterator[Problem]:
    store, path = storage.resolve(location)
    try:
        rows = pq.read_metadata(path, filesystem=store).num_rows
    except FileNotFoundError:
        yield Problem(location, "the shard's index is missing")
    except pa.ArrowInvalid as error:
        yield Problem(location, f"is not a Parquet file: {error}")
    else:
        if rows != shard.samples:
            yield Problem(location, f"has {rows} rows, the manifest says {shard.samples}")
