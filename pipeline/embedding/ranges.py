"""A corpus cut into ranges of samples, each of which becomes a file whose name the cut gives."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.data.sources.manifest import Ids

BATCH = 128
"""Samples that are encoded together, from a range's first one on."""

_MOST_SAMPLES = 4096
_MOST_BYTES = 128 << 20  # of a range's pixels, which travel as one object
_NAME = re.compile(r"(\d{6,})-(\d{9,})\.parquet")


class Range(NamedTuple):
    """Consecutive samples of one shard."""

    number: int  # in the plan
    shard: int  # in the manifest
    start: int  # in the shard
    stop: int

    @property
    def file(self) -> str:
        """Name of its file; names in order are ids in order."""
        return f"{self.shard:06d}-{self.start:09d}.parquet"


class Ranges:
    """All ranges of a manifest. A pure function of it and of the samples in a range."""

    def __init__(self, boundaries: Ids, samples: int) -> None:
        """Cut.

        Args:
            boundaries: (shards + 1,) of `Manifest.boundaries`.
            samples: in a range, at most.
        """
        self._boundaries = boundaries
        self._samples = samples
        counts = -(-np.diff(boundaries) // samples)
        self._first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, number: int) -> Range:
        shard = int(np.searchsorted(self._first, number, side="right")) - 1
        start = (number - int(self._first[shard])) * self._samples
        length = int(self._boundaries[shard + 1] - self._boundaries[shard])
        return Range(number, shard, start, min(length, start + self._samples))

    def missing(self, files: Iterable[str]) -> Ids:
        """Numbers of the ranges that are not among files, (k,) int64; other names are passed by."""
        there = np.zeros(len(self), dtype=bool)
        for name in files:
            match = _NAME.fullmatch(name)
            if match is None:
                continue
            shard, start = int(match[1]), int(match[2])
            if shard + 1 < len(self._first) and start % self._samples == 0:
                number = int(self._first[shard]) + start // self._samples
                if number < self._first[shard + 1]:
                    there[number] = True
        return np.flatnonzero(~there)

    def count(self, numbers: npt.NDArray[np.int64]) -> int:
        """Samples of ranges, by their numbers (k,)."""
        shards = np.searchsorted(self._first, numbers, side="right") - 1
        starts = (numbers - self._first[shards]) * self._samples
        lengths = self._boundaries[shards + 1] - self._boundaries[shards]
        return int(np.minimum(lengths - starts, self._samples).sum())


def samples_per_range(size: int) -> int:
    """Samples in a range of images of so many pixels a side: whole batches, of at most 128 MiB."""
    batches = _MOST_BYTES // (BATCH * size * size * 3)
    return BATCH * max(1, min(_MOST_SAMPLES // BATCH, batches))
