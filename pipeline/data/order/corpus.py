"""The manifests of a run as one sample sequence."""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache

import numpy as np
import pyarrow.compute as pc

from pipeline.data import storage
from pipeline.data.sources.manifest import Ids, Manifest, Shard, load_manifest, manifest_root

SOURCE_STRIDE = 1 << 40
"""Distance between the first ids of two manifests, so that growing one renumbers no other."""


class Corpus:
    """Manifests in the order in which the recipe names them; ids of the i-th begin at i * 2**40."""

    def __init__(self, manifests: tuple[str, ...]) -> None:
        """Open manifests.

        Args:
            manifests: their folders or files, absolute.

        Raises:
            UserError: one cannot be read.
        """
        self.manifests: list[Manifest] = [load_manifest(path) for path in manifests]
        self._roots = [manifest_root(path) for path in manifests]
        parts = [
            manifest.boundaries() + number * SOURCE_STRIDE
            for number, manifest in enumerate(self.manifests)
        ]
        self.boundaries: Ids = np.concatenate(parts)
        """Ids at which shards begin, and the end of each manifest; (shards + manifests,) int64."""
        self._first_entry = np.cumsum([0, *map(len, parts)])

    def locate(self, sample_ids: Ids) -> tuple[Ids, Ids]:
        """Entries of `boundaries` and indexes in their shards of sample ids; both (n,) int64."""
        entry = np.searchsorted(self.boundaries, sample_ids, side="right") - 1
        return entry, sample_ids - self.boundaries[entry]

    @property
    def samples(self) -> tuple[int, ...]:
        """Samples of each manifest."""
        return tuple(manifest.samples for manifest in self.manifests)

    @property
    def fingerprint(self) -> str:
        """What the data is, wherever it lies."""
        if len(self.manifests) == 1:
            return self.manifests[0].fingerprint
        all_of_them = " ".join(manifest.fingerprint for manifest in self.manifests)
        return hashlib.sha256(all_of_them.encode()).hexdigest()

    @cached_property
    def has_remote_shards(self) -> bool:
        """Whether any shard lies on a store."""
        if any(map(storage.is_remote, self._roots)):
            return True
        paths = [manifest.shards.table["path"] for manifest in self.manifests]
        return any(pc.any(pc.match_substring(column, "://")).as_py() for column in paths)

    def root(self, source: int) -> str:
        """The folder of a manifest."""
        return self._roots[source]

    def shard(self, entry: int) -> tuple[Manifest, str, Shard]:
        """The shard of an entry, its manifest, and the folder of that."""
        source = int(np.searchsorted(self._first_entry, entry, side="right")) - 1
        manifest = self.manifests[source]
        return (
            manifest,
            self._roots[source],
            manifest.shards[entry - int(self._first_entry[source])],
        )


@lru_cache(maxsize=4)
def load_corpus(manifests: tuple[str, ...]) -> Corpus:
    """A corpus, opened once in a process."""
    return Corpus(manifests)
