"""Reads what must be read to be known, and puts it where every shard finds its own samples.

A unit of a source becomes runs of at most some 256 MB: a file of images one after the other, in the
order of the shuffle, and a listing of them. Since a shard is a range of that order, its samples lie
side by side in each run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.data import storage
from pipeline.data.sources.conversion.grouping import Grouping
from pipeline.data.sources.conversion.source import (
    LISTED_TOGETHER,
    Gathered,
    Told,
    Unit,
    listing_schema,
    shuffle_keys,
)
from pipeline.data.sources.index import KEPT
from pipeline.data.whole_file import whole_file

_RUN_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """Where the runs go, and what they hold."""

    folder: str
    """Path or URI, the same for every process."""
    seed: int
    parts: tuple[str, ...]
    kept: tuple[str, ...]
    grouping: Grouping | None

    def runs_of(self, number: int, unit: Unit) -> UnitFacts:
        """Put a unit into runs, unless that was done before.

        Args:
            number: of the unit, part of the runs' names.
            unit: what is read.

        Raises:
            OSError: it cannot be read, or a run not be written.
            UserError: it is not what it was taken for.
        """
        done = storage.join(self.folder, f"unit-{number:06d}.json")
        if storage.exists(done):
            return UnitFacts(**json.loads(storage.read_file(done)))
        told = Told()
        listings: list[str] = []
        samples = size = 0
        for some in _in_runs(unit.samples(told)):
            name = f"run-{number:06d}-{len(listings):06d}"
            size += self._write_run(name, unit.first + samples, some)
            listings.append(f"{name}.arrow")
            samples += len(some)
        facts = UnitFacts(
            listings=listings,
            samples=samples,
            bytes=size,
            left_out=dict(told.left_out),
            examples=told.examples,
        )
        storage.write_file(done, json.dumps(vars(facts)).encode())
        return facts

    def _write_run(self, name: str, first: int, samples: Sequence[Gathered]) -> int:
        location = storage.join(self.folder, f"{name}.bin")
        numbers = np.arange(first, first + len(samples), dtype=np.int64)
        order = np.argsort(shuffle_keys(self.seed, numbers), kind="stable").tolist()
        places: list[list[tuple[int, int]]] = []
        at = 0
        with whole_file(location) as path, path.open("wb") as file:
            for row in order:
                places.append([])
                for image in samples[row].images:
                    file.write(image)
                    places[-1].append((at, len(image)))
                    at += len(image)
        listing = self._listing(location, numbers[order], [samples[r] for r in order], places)
        with (
            whole_file(storage.join(self.folder, f"{name}.arrow")) as path,
            pa.ipc.new_file(path, listing.schema) as writer,
        ):
            writer.write_batch(listing)
        return at

    def _listing(
        self,
        location: str,
        numbers: Any,
        samples: Sequence[Gathered],
        places: Sequence[Sequence[tuple[int, int]]],
    ) -> pa.RecordBatch:
        columns: dict[str, Any] = {
            "number": numbers,
            "key": [sample.key for sample in samples],
            "label": [sample.label for sample in samples],
        }
        if self.grouping is not None:
            by_column = self.grouping.column is not None
            keys = pa.array(columns["key"], pa.string())
            columns["group"] = (
                [sample.group for sample in samples] if by_column else self.grouping.of_keys(keys)
            )
        for place, name in enumerate(self.kept):
            columns[KEPT + name] = [sample.kept[place] for sample in samples]
        for place, part in enumerate(self.parts or ("",)):
            columns[f"file.{part}"] = [location.encode()] * len(samples)
            columns[f"offset.{part}"] = [row[place][0] for row in places]
            columns[f"size.{part}"] = [row[place][1] for row in places]
        schema = listing_schema(self.parts, self.kept, grouped=self.grouping is not None)
        return pa.RecordBatch.from_pydict(columns, schema=schema)

    def listing(self, facts: UnitFacts) -> Iterator[pa.RecordBatch]:
        """The listings of a unit's runs."""
        for name in facts.listings:
            data = storage.read_file(storage.join(self.folder, name))
            reader = pa.ipc.open_file(pa.py_buffer(data))
            yield from (reader.get_batch(at) for at in range(reader.num_record_batches))


@dataclass(frozen=True, kw_only=True)
class UnitFacts:
    """What became of a unit."""

    listings: Sequence[str]
    samples: int
    bytes: int
    left_out: Mapping[str, int]
    examples: Mapping[str, str]


def _in_runs(samples: Iterator[Gathered]) -> Iterator[list[Gathered]]:
    some: list[Gathered] = []
    size = 0
    for sample in samples:
        some.append(sample)
        size += sum(map(len, sample.images))
        if size >= _RUN_BYTES or len(some) == LISTED_TOGETHER:
            yield some
            some, size = [], 0
    if some:
        yield some
