"""How far a worker's readers read ahead, and in how large slices: a bound in bytes, kept at rest.

With more CPUs more slices are under way, each of them smaller where they would not fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_SLICE_SAMPLES = 512
_SLICE_BYTES = 32 << 20
_SPARE_SLICES = 6
_SLICES_PER_CPU = 2


@dataclass(frozen=True, kw_only=True)
class ReadingAhead:
    """How a worker's order is cut into slices, and how many of them are under way."""

    slices: int
    """Read, waiting, or being taken apart at a time."""
    per_stream: int
    """Positions of each stream in a slice."""
    slice_bytes: int
    """Of the views of a slice."""

    @property
    def bytes(self) -> int:
        """Bound on the views that are under way for a worker, but for the batch being made."""
        return self.slices * self.slice_bytes


def slices_ahead(cpus: float) -> int:
    """Slices under way for CPUs: one that each reads, another to follow, and some that wait.

    Slices are taken in order, so that those behind a slow one wait for it.
    """
    return _SLICES_PER_CPU * math.ceil(cpus) + _SPARE_SLICES


def reading_ahead(
    *, streams: int, per_batch: int, row_bytes: int, cpus: float, at_most: int
) -> ReadingAhead:
    """Slices of some 512 samples and at most 32 MiB; smaller ones where many would break a bound.

    Args:
        streams: of the worker.
        per_batch: samples of each stream in a batch.
        row_bytes: of a sample's views.
        cpus: that read for the worker.
        at_most: bytes; a slice of one position of each stream is the least, and may exceed it.

    Returns:
        Whole batches to a slice where one fits, else equal parts of a batch.
    """
    count = slices_ahead(cpus)
    position_bytes = streams * row_bytes
    room = min(_SLICE_SAMPLES // streams, min(_SLICE_BYTES, at_most // count) // position_bytes)
    per_stream = _rounded(max(1, room), per_batch)
    return ReadingAhead(
        slices=count, per_stream=per_stream, slice_bytes=per_stream * position_bytes
    )


def _rounded(positions: int, per_batch: int) -> int:
    """So many positions or fewer: whole batches, or a batch in as few equal parts as they allow."""
    if positions >= per_batch:
        return positions // per_batch * per_batch
    return math.ceil(per_batch / math.ceil(per_batch / positions))
