"""Two ways to run the same read tasks: Ray Data, or threads in this process.

Both yield the rows of a worker's slices in order, so the batches are bitwise the same.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import pyarrow as pa

from pipeline.data.order.slices import Slice
from pipeline.data.reading.slice_reader import SliceReader

_SLICE_SAMPLES = 512
_SLICE_BYTES = 32 << 20
SLICES_IN_FLIGHT = 8


class Ingest(Protocol):
    """Runs read tasks ahead of the learner."""

    def __call__(
        self, reader: SliceReader, slices: Iterable[Slice], *, cpus: float
    ) -> Iterator[pa.Table]:
        """The rows of the slices, in order; tasks for `cpus` (rounded up) run at a time."""


def batches_per_slice(*, local_batch: int, row_bytes: int) -> int:
    """k: as many local batches as make some 512 samples, within 32 MiB."""
    by_samples = _SLICE_SAMPLES // local_batch
    by_bytes = _SLICE_BYTES // (local_batch * row_bytes)
    return max(1, min(by_samples, by_bytes))


def bytes_in_flight(*, local_batch: int, row_bytes: int) -> int:
    """Bound on the bytes that are read ahead for one worker, under either ingest.

    Under `ray` it may be twice that for a moment, where one of Ray's data sets follows another.
    """
    k = batches_per_slice(local_batch=local_batch, row_bytes=row_bytes)
    return SLICES_IN_FLIGHT * k * local_batch * row_bytes


def inline(reader: SliceReader, slices: Iterable[Slice], *, cpus: float) -> Iterator[pa.Table]:
    """Read slices in threads of this process, a few ahead; decoding releases the GIL."""
    pending: deque[Future[pa.Table]] = deque()
    remaining = iter(slices)
    pool = ThreadPoolExecutor(max_workers=math.ceil(cpus), thread_name_prefix="ingest")
    try:
        for piece in islice(remaining, SLICES_IN_FLIGHT):
            pending.append(pool.submit(reader.read, piece))
        while pending:
            table = pending.popleft().result()
            for piece in islice(remaining, 1):
                pending.append(pool.submit(reader.read, piece))
            yield table
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
