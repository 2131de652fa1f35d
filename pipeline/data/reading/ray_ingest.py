"""Read tasks on Ray Data: one ordered pipeline for each worker, with CPUs of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice

import pyarrow as pa
import ray
from ray.data import DataContext, Datasource
from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
)
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from pipeline.data.order.slices import Slice
from pipeline.data.reading.ingest import SLICES_IN_FLIGHT
from pipeline.data.reading.read_ahead import HELD_BY_CONSUMER, ReadAhead
from pipeline.data.reading.slice_reader import SliceReader

_SLICES_PER_DATASET = 1024


class _SliceSource(Datasource):
    """The slices as Ray read tasks."""

    def __init__(self, reader: SliceReader, slices: list[Slice]) -> None:
        super().__init__()
        self._reader = reader
        self._slices = slices

    def get_name(self) -> str:
        return "Slices"

    def estimate_inmemory_data_size(self) -> int:
        return sum(_bytes_of(piece, self._reader) for piece in self._slices)

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, **_: object
    ) -> list[ReadTask]:
        return [
            ReadTask(partial(_read, self._reader, piece), _metadata(piece, self._reader))
            for piece in self._slices
        ]


def _read(reader: SliceReader, piece: Slice) -> list[pa.Table]:
    return [reader.read(piece)]


def _rows_of(piece: Slice) -> int:
    return sum(stop - start for _, start, stop in piece.ranges)


def _bytes_of(piece: Slice, reader: SliceReader) -> int:
    return _rows_of(piece) * reader.views.row_bytes


def _metadata(piece: Slice, reader: SliceReader) -> BlockMetadata:
    return BlockMetadata(
        num_rows=_rows_of(piece),
        size_bytes=_bytes_of(piece, reader),
        input_files=None,
        exec_stats=None,
    )


def ray_data(
    reader: SliceReader, slices: Iterable[Slice], *, cpus: float, alone: bool = False
) -> Iterator[pa.Table]:
    """Read slices by a Ray Data pipeline that this worker owns.

    `preserve_order` keeps the slices' order. The pipeline's tasks together ask for `cpus`; the
    driver makes sure that the cluster has as many to spare for every worker, since Ray gives a
    pipeline that is left without a CPU no error, only silence.

    Args:
        reader: reads a slice, in a task.
        slices: what to read, in order.
        cpus: logical CPUs; a fraction lets workers share one, each with one task at a time.
        alone: no other worker reads. Then one task more waits in Ray's queue, without which a CPU
            idles between two tasks for half of a task's time; but of several workers' waiting tasks
            Ray prefers some, and lets others starve.
    """
    tasks = math.ceil(cpus)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    remaining = iter(slices)
    context.set_config(
        ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
        [partial(ReadAhead, tasks=tasks + alone, slices=SLICES_IN_FLIGHT - HELD_BY_CONSUMER)],
    )
    options = {"num_cpus": 0.0}
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="next-slices") as starter:
        following = starter.submit(_start, reader, remaining, options)
        while started := following.result():
            count, first, others = started
            number = 0
            for number, table in enumerate(chain([first], others), start=1):
                if number == max(1, count - SLICES_IN_FLIGHT):
                    # A data set takes seconds to start; the next one does while this one ends.
                    following = starter.submit(_start, reader, remaining, options)
                yield table
            if number != count:
                raise RuntimeError(f"{count} slices gave {number} tables")


def _start(
    reader: SliceReader, slices: Iterator[Slice], options: dict[str, float]
) -> tuple[int, pa.Table, Iterator[pa.Table]] | None:
    """The number of slices of the next data set, its first table and the others."""
    chunk = list(islice(slices, _SLICES_PER_DATASET))
    if not chunk:
        return None
    dataset = ray.data.read_datasource(
        _SliceSource(reader, chunk), override_num_blocks=len(chunk), **options
    )
    tables = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1))
    return len(chunk), next(tables), tables
