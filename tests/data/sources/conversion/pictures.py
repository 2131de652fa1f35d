"""Small pictures, each its own, and what shards of them hold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.data import storage
from pipeline.data.decode import encode_png
from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.shard_reader import ShardReader
from pipeline.data.sources.index import load_index
from pipeline.data.sources.manifest import load_manifest, manifest_root


def picture(number: int) -> bytes:
    """A PNG of 5 x 6 pixels."""
    rng = np.random.default_rng(number)
    return encode_png(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))


class Found(NamedTuple):
    """What a shard has of a sample."""

    data: bytes
    label: str | None
    kept: tuple[str | None, ...]


def contents(folder: str) -> dict[str, Found]:
    """What shards hold, by key."""
    manifest, root = load_manifest(folder), manifest_root(folder)
    with ShardReader(load_corpus((folder,))) as reader:
        data = reader.read(np.arange(manifest.samples))
    found = {}
    for shard in manifest.shards:
        index = load_index(storage.join(root, shard.index_path))
        labels = index.labels(manifest.classes).tolist()
        kept = [index.kept(name).to_pylist() for name in manifest.kept]
        for row in range(shard.samples):
            label = manifest.classes[labels[row]] if labels[row] >= 0 else None
            values = tuple(column[row] for column in kept)
            found[index.key(row)] = Found(data[shard.first_id + row], label, values)
    return found
