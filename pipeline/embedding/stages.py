"""The three stages on Ray Data: read tasks, actors that encode, write tasks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import ray
from ray.data import ActorPoolStrategy, DataContext, Datasource, TaskPoolStrategy
from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
)
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from pipeline.data.sources.manifest import Ids
from pipeline.embedding.encoding import RangeEncoder
from pipeline.embedding.ranges import Ranges
from pipeline.embedding.reading import RangeReader
from pipeline.embedding.shares import Shares
from pipeline.embedding.shipping import ShippedEncoder
from pipeline.embedding.writing import RangeWriter

_RANGES_PER_TASK = 16
_TASKS_PER_READER = 4
_LEAST_CLAIM = 1e-4
_IN_FLIGHT = 2  # ranges with an actor: one that it encodes, and one on its way


class Done(NamedTuple):
    """A range whose file is there, or why it is not."""

    number: int
    samples: int
    bad: int
    error: str | None  # of the first bad one
    outage: str | None
    mistake: str | None


class _RangeSource(Datasource):
    """Ranges as Ray read tasks, several to a task, each a block."""

    def __init__(self, reader: RangeReader, ranges: Ranges, due: Ids, per_task: int) -> None:
        super().__init__()
        self._reader = reader
        self._ranges = ranges
        self._due = due
        self._per_task = per_task

    def get_name(self) -> str:
        return "Ranges"

    def estimate_inmemory_data_size(self) -> int:
        return self._bytes_of(self._due)

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, **_: object
    ) -> list[ReadTask]:
        starts = range(0, len(self._due), self._per_task)
        return [self._task(self._due[start : start + self._per_task]) for start in starts]

    def _task(self, numbers: Ids) -> ReadTask:
        parts = [self._ranges[int(number)] for number in numbers]
        metadata = BlockMetadata(
            num_rows=len(parts),
            size_bytes=self._bytes_of(numbers),
            input_files=None,
            exec_stats=None,
        )
        return ReadTask(partial(self._reader.read, parts), metadata)

    def _bytes_of(self, numbers: Ids) -> int:
        return self._ranges.count(numbers) * self._reader.size**2 * 3


def embedded(
    reader: RangeReader,
    shipped: ShippedEncoder,
    writer: RangeWriter,
    *,
    ranges: Ranges,
    due: Ids,
    shares: Shares,
) -> Iterator[Done]:
    """Read, encode and write ranges; yields each as its file is there, in no order.

    Args:
        reader: the first stage.
        shipped: the encoder of the second.
        writer: the third.
        ranges: of the corpus.
        due: (k,) numbers of those that are to be done, at least one.
        shares: of the cluster.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = False
    # Training may have set policies of its own in this process.
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, ENABLED_BACKPRESSURE_POLICIES)
    # A range is a row, and no block shall have two: whoever encodes one waits for no other.
    context.target_max_block_size = 1
    even = len(due) // (shares.readers * _TASKS_PER_READER)
    per_task = max(1, min(_RANGES_PER_TASK, even))
    with DataContext.current(context):
        rows = ray.data.read_datasource(
            _RangeSource(reader, ranges, due, per_task),
            override_num_blocks=-(-len(due) // per_task),
            compute=TaskPoolStrategy(size=shares.readers),
            num_cpus=shares.cpus,
        )
        vectors = rows.map_batches(
            RangeEncoder,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_args=(ray.put(shipped),),
            fn_constructor_kwargs={"dtype": writer.dtype, "gpu": shares.gpus > 0},
            compute=ActorPoolStrategy(
                size=shares.encoders, max_tasks_in_flight_per_actor=_IN_FLIGHT
            ),
            num_gpus=shares.gpus or None,
            # Ray Data makes one of two stages with the same claims, and nothing would be decoded
            # while a worker encodes.
            num_cpus=round(shares.cpus - _LEAST_CLAIM, 4),
        )
        files = vectors.map_batches(
            writer,
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=shares.cpus,
        )
        for row in files.iter_rows():
            yield Done(**row)
