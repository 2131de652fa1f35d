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
from pipeline.data.reading.activity import Activity, ReadingThreads
from pipeline.data.reading.ahead import slices_ahead
from pipeline.data.reading.slice_reader import SliceReader


class Ingest(Protocol):
    """Runs read tasks ahead of the learner."""

    def __call__(
        self,
        reader: SliceReader,
        slices: Iterable[Slice],
        *,
        cpus: float,
        activity: Activity | None = None,
    ) -> Iterator[pa.Table]:
        """The rows of the slices, in order; tasks for `cpus` (rounded up) run at a time.

        What it does meanwhile is noted in `activity`.
        """


def inline(
    reader: SliceReader,
    slices: Iterable[Slice],
    *,
    cpus: float,
    activity: Activity | None = None,
) -> Iterator[pa.Table]:
    """Read slices in threads of this process, as far ahead as `slices_ahead` says.

    Decoding releases the interpreter lock.
    """
    threads = ReadingThreads(reader)
    if activity is not None:
        activity.words = threads.words

    def read(piece: Slice) -> pa.Table:
        with threads.reading(piece):
            return reader.read(piece)

    pending: deque[Future[pa.Table]] = deque()
    remaining = iter(slices)
    pool = ThreadPoolExecutor(max_workers=math.ceil(cpus), thread_name_prefix="ingest")
    try:
        # Whoever takes a table apart has one slice more.
        for piece in islice(remaining, slices_ahead(cpus) - 1):
            pending.append(pool.submit(read, piece))
        while pending:
            table = pending.popleft().result()
            for piece in islice(remaining, 1):
                pending.append(pool.submit(read, piece))
            yield table
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
