"""What a source of images is: samples that can be listed, or that must be read to be known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.data.sources.conversion.grouping import Grouping
from pipeline.data.sources.index import KEPT
from pipeline.randomness import mix

LISTED_TOGETHER = 1 << 17
"""Samples in a batch of a listing, at most."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """What the user says of a source; None or empty: what is there."""

    images: tuple[str, ...] = ()
    """A key or column of images; several: names of a sample's images."""
    labels: str | None = None
    keep: tuple[str, ...] = ()
    """Columns to keep beside the samples."""
    split_by: str | None = None
    """See `grouping_of`."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of a sample's images, if it has several."""
        return self.images if len(self.images) > 1 else ()

    @property
    def image(self) -> str | None:
        """The key or column of images, if one was named."""
        return self.images[0] if len(self.images) == 1 else None


@dataclass(kw_only=True)
class Told:
    """What the user is told of a source that is not quite as it should be."""

    left_out: Counter[str] = field(default_factory=Counter)  # reason -> samples
    examples: dict[str, str] = field(default_factory=dict)  # reason -> one of them
    notes: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, example: str, count: int = 1) -> None:
        """Count samples that are left out."""
        if count:
            self.left_out[reason] += count
            self.examples.setdefault(reason, example)

    def add(self, left_out: Mapping[str, int], examples: Mapping[str, str]) -> None:
        """Count what was left out elsewhere."""
        for reason, count in left_out.items():
            self.leave_out(reason, examples[reason], count)


FolderLabels = Literal["always", "mostly", "never"]
"""Whether the first folder of a key is a label: yes, if most keys have one, or no."""


class Source(Protocol):
    """What both kinds say of themselves."""

    @property
    def asked(self) -> Mapping[str, Any]:
        """What the user pointed at and how, as JSON: whether an unfinished job is of it."""

    @property
    def fields(self) -> Fields:
        """What the user said of it."""

    @property
    def grouping(self) -> Grouping | None:
        """How a sample's group is told."""

    @property
    def folder_labels(self) -> FolderLabels:
        """Whether labels are the first folders of the keys."""

    @property
    def keys_have_one_root(self) -> bool:
        """Whether a folder that all keys lie in says nothing, as that of an archive."""


class ListedSource(Source, Protocol):
    """Samples whose bytes are whole files, known by name before one is opened."""

    @property
    def root(self) -> str:
        """Path or URI below which the files lie whose names are neither absolute nor URIs."""

    def listing(self, told: Told) -> Iterator[pa.RecordBatch]:
        """Rows of `listing_schema`, in an order that is the same each time.

        Args:
            told: gets what is to be told, as the listing goes on.
        """


class Gathered(NamedTuple):
    """A sample that was met in a stream."""

    key: str
    images: tuple[bytes, ...]
    label: str | None
    group: str | None
    kept: tuple[str | None, ...]


class Unit(Protocol):
    """A piece of a source that is read from end to end; it travels to the process that does."""

    @property
    def first(self) -> int:
        """Number of its first sample."""

    def samples(self, told: Told) -> Iterator[Gathered]:
        """Its samples; what is none is counted."""


@runtime_checkable
class StreamedSource(Source, Protocol):
    """Samples that have to be read to be known."""

    def units(self) -> Sequence[Unit]:
        """Its pieces, in an order that is the same each time."""


def listing_schema(parts: Sequence[str], kept: Sequence[str], *, grouped: bool) -> pa.Schema:
    """The columns of a listing.

    `number` int64 gives the sample its place in the shuffle; `key`; `label` and `group`, null
    without one; what is kept; and for each part `file.NAME` (bytes as the file system has them),
    `offset.NAME` and `size.NAME` int64, null where the file is the image.

    Args:
        parts: names of a sample's images; empty: one, whose name is empty.
        kept: columns.
        grouped: whether there is a `group`.
    """
    places = [
        place
        for part in parts or ("",)
        for place in (
            (f"file.{part}", pa.binary()),
            (f"offset.{part}", pa.int64()),
            (f"size.{part}", pa.int64()),
        )
    ]
    return pa.schema(
        [
            ("number", pa.int64()),
            ("key", pa.string()),
            ("label", pa.string()),
            *([("group", pa.string())] if grouped else []),
            *((KEPT + name, pa.string()) for name in kept),
            *places,
        ]
    )


def shuffle_keys(seed: int, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """What samples of these numbers are ordered by, (n,).

    The order is by a hash of the seed and the sample's number: the same source and seed give the
    same shards, on however many machines, and nothing need fit in memory.
    """
    return mix("shard", seed, numbers)
