"""Writes one planned shard: fetch, check, write; and finds out whether that was done before."""

from __future__ import annotations

import json
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.sources.conversion.samples import Fetching
from pipeline.data.sources.conversion.source import Told
from pipeline.data.sources.index import KEPT
from pipeline.data.sources.manifest import Shard, index_name
from pipeline.data.sources.shard_writer import ShardLayout, ShardSample, opened, shard_name
from pipeline.errors import InterruptedRunError

_FACTS = "conversion"
_EXAMPLES = 3
_THREADS_FOR_A_STORE = 16  # a request mostly waits


@dataclass(kw_only=True)
class ShardFacts:
    """What a shard holds, as noted in its index."""

    number: int
    samples: int
    bytes: int
    sha256: str
    read: int
    """Bytes of images that were read for it."""
    unlabelled: int
    unlabelled_keys: list[str] = field(default_factory=list)
    left_out: dict[str, int]
    examples: dict[str, str]
    job: str
    """Of which conversion it is."""

    def shard(self, layout: ShardLayout, *, first_id: int) -> Shard:
        """Its line in the manifest."""
        return Shard(
            path=shard_name(self.number, layout.kind),
            format=layout.kind,
            samples=self.samples,
            bytes=self.bytes,
            first_id=first_id,
            sha256=self.sha256,
        )


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """What all shards of a set have in common; it travels to every process."""

    folder: str
    """Path or URI of the set."""
    job_folder: str
    """Path or URI of the conversion's state, which every node must see."""
    first_number: int
    """Shards that are there before the first of the plan."""
    first_place: int
    """Samples that are there before."""
    layout: ShardLayout
    fetching: Fetching
    job: str

    def write(self, number: int, rows: pa.RecordBatch, *, cpus: int) -> tuple[ShardFacts, bool]:
        """Write a shard and its index, unless they are there and whole.

        Args:
            number: of the shard in the plan.
            rows: of the plan.
            cpus: that threads may fill.

        Returns:
            What it holds, and whether it was written now.

        Raises:
            OSError: something could not be read or written, again and again.
            InterruptedRunError: this node does not see the folders.
        """
        self._refuse_a_node_of_its_own()
        name = shard_name(self.first_number + number, self.layout.kind)
        location = storage.join(self.folder, name)
        index = storage.join(self.folder, index_name(name))
        before = self._facts_of(index)
        if before is not None and _is_whole(location, before):
            return before, False
        cv2.setNumThreads(1)
        threads = max(cpus, _THREADS_FOR_A_STORE) if self.fetching.waits(rows) else cpus
        told = Told()
        read = 0
        unlabelled: list[str] = []
        with (
            ThreadPoolExecutor(threads) as pool,
            opened(location, self.layout) as (writer, written),
        ):
            described = self._described(rows)
            found = self.fetching.samples(rows, pool, ahead=2 * threads)
            for sample, images in zip(described, found, strict=True):
                if isinstance(images, str):
                    told.leave_out(images, sample.key)
                    continue
                read += sum(map(len, images))
                if sample.label is None:
                    unlabelled.append(sample.key)
                writer.add(ShardSample(**{**vars(sample), "images": images}))
        facts = ShardFacts(
            number=self.first_number + number,
            samples=len(writer),
            bytes=written.bytes,
            sha256=written.sha256,
            read=read,
            unlabelled=len(unlabelled),
            unlabelled_keys=unlabelled[:_EXAMPLES],
            left_out=dict(told.left_out),
            examples=told.examples,
            job=self.job,
        )
        writer.write_index(index, {_FACTS: json.dumps(asdict(facts))})
        return facts, True

    def _refuse_a_node_of_its_own(self) -> None:
        """On a cluster, a path must mean the same on every node."""
        for path in (self.job_folder, self.fetching.root):
            if not storage.is_remote(path) and not Path(path).is_dir():
                message = "every node must see it: give a folder that all share, or a URI"
                raise InterruptedRunError(f"{path} is not there on {platform.node()}; {message}")

    def _described(self, rows: pa.RecordBatch) -> list[ShardSample]:
        """The samples without their images."""
        labels = rows["label"].to_pylist() if self.layout.classes else [None] * len(rows)
        kept = [rows[KEPT + name].to_pylist() for name in self.layout.kept]
        return [
            ShardSample(
                number=self.first_place + place,
                key=key,
                images=(),
                label=label,
                kept=tuple(column[row] for column in kept),
            )
            for row, (place, key, label) in enumerate(
                zip(rows["number"].to_pylist(), rows["key"].to_pylist(), labels, strict=True)
            )
        ]

    def _facts_of(self, index: str) -> ShardFacts | None:
        if storage.size_of(index) is None:
            return None
        store, path = storage.resolve(index)
        noted = (pq.read_schema(path, filesystem=store).metadata or {}).get(_FACTS.encode())
        facts: dict[str, Any] = json.loads(noted) if noted else {}
        return ShardFacts(**facts) if facts.get("job") == self.job else None


def _is_whole(location: str, facts: ShardFacts) -> bool:
    """Whether a shard is what its index says; of a store, which keeps whole files, by its size."""
    if storage.size_of(location) != facts.bytes:
        return False
    return storage.is_remote(location) or storage.sha256_of(location) == facts.sha256
