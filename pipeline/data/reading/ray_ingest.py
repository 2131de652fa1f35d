"""Read tasks on Ray Data: ordered pipelines of each worker, one for each node that reads for it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import pyarrow as pa
import ray
from ray.data import DataContext, Datasource
from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
)
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from pipeline.data.order.slices import Slice
from pipeline.data.reading.activity import Activity
from pipeline.data.reading.ahead import slices_ahead
from pipeline.data.reading.ray_words import Submitted, words
from pipeline.data.reading.read_ahead import ReadAhead, Taken
from pipeline.data.reading.reading_nodes import NodeShare, joined, parts
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.reading.turns import Turns, new_turns, waiting

_SLICES_PER_DATASET = 1024
_READ_ON = b"node"  # where a table's metadata says on which node it was read
_FEWEST_AHEAD = 6  # slices on a node
_BEGUN_UNASKED = 4
"""Slices of a data set that Ray reads for a consumer that waits, whatever a policy says."""


class _SliceSource(Datasource):
    """The slices as Ray read tasks."""

    def __init__(self, reader: SliceReader, slices: list[Slice], turns: Turns) -> None:
        super().__init__()
        self._turns = turns
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
            ReadTask(
                partial(_read, self._reader, piece, self._turns), _metadata(piece, self._reader)
            )
            for piece in self._slices
        ]


def _read(reader: SliceReader, piece: Slice, turns: Turns) -> list[pa.Table]:
    with turns.taken():
        table = reader.read(piece)
    return [table.replace_schema_metadata({_READ_ON: ray.get_runtime_context().get_node_id()})]


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
    reader: SliceReader,
    slices: Iterable[Slice],
    *,
    cpus: float,
    nodes: Sequence[NodeShare] | None = None,
    activity: Activity | None = None,
) -> Iterator[pa.Table]:
    """Read slices by Ray Data pipelines that this worker owns.

    `preserve_order` keeps the slices' order.

    Beside the worker the tasks run on its node, on CPUs that the worker's own bundle holds for
    them, so that they ask Ray for none: they cannot starve, nor be lent to others, and a node
    fetches only what its own workers read. Elsewhere they ask for the CPUs of their nodes.

    Args:
        reader: reads a slice, in a task.
        slices: what to read, in order.
        cpus: that read at a time, rounded up; beside the worker.
        nodes: that read for the worker, and which of its streams; None: its own, beside it.
        activity: is told what the tasks do, and what comes from other nodes.

    Yields:
        The rows of the slices, in order; of each slice as many tables as there are nodes.
    """
    if nodes is None:
        pipelines, remaining = [_beside(reader, cpus)], iter(slices)
    else:
        at_once, ahead = _together(nodes, slices_ahead(cpus))
        pipelines = [_elsewhere(reader, share, ahead=ahead) for share in nodes]
        remaining = joined(slices, at_once)
    activity = activity or Activity()
    activity.words = partial(_words, pipelines)
    home = ray.get_runtime_context().get_node_id()
    taken = Taken()
    reach = max(1, min(pipeline.ahead for pipeline in pipelines) - _BEGUN_UNASKED)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="next-slices") as starter:
        following = starter.submit(_start, pipelines, remaining, 0, taken)
        while started := following.result():
            count, tables = started
            first = taken.count
            for number, row in enumerate(zip(*tables, strict=True), start=1):
                if number == max(1, count - reach):
                    # A data set takes seconds to start; the next one does while this one ends.
                    following = starter.submit(_start, pipelines, remaining, first + count, taken)
                for table in row:
                    if table.schema.metadata[_READ_ON].decode() != home:
                        activity.bytes_from_other_nodes += table["pixels"].nbytes
                    yield table
                taken.one_more()
            if taken.count != first + count:
                raise RuntimeError(f"{count} slices gave {taken.count - first} tables")


class _Pipeline(NamedTuple):
    """What reads a worker's slices on one node."""

    reader: SliceReader
    share: NodeShare | None  # None: all streams
    node: str | None
    turns: Turns
    submitted: Submitted
    ahead: int  # slices that are under way
    options: dict[str, Any]  # of a task

    @property
    def tasks(self) -> int:
        """At a time, those that wait for their turn among them."""
        return self.turns.count + waiting(self.turns.count)


def _beside(reader: SliceReader, cpus: float) -> _Pipeline:
    node = ray.get_runtime_context().get_node_id()
    turns = new_turns(math.ceil(cpus))
    options = {"num_cpus": 0, **_pinned(node)}
    return _Pipeline(reader, None, node, turns, Submitted(), slices_ahead(cpus), options)


def _together(nodes: Sequence[NodeShare], ahead: int) -> tuple[int, int]:
    """How many slices each node's tasks join, and how many of these are under way on a node.

    As many as give the node with most streams a slice's size, within the bytes of all slices that
    are under way.
    """
    counts = [len(share.streams) for share in nodes]
    at_once = max(1, min(sum(counts) // max(counts), ahead // _FEWEST_AHEAD))
    return at_once, ahead // at_once


def _elsewhere(reader: SliceReader, share: NodeShare, *, ahead: int) -> _Pipeline:
    turns = new_turns(math.ceil(share.cpus))
    tasks = turns.count + waiting(turns.count)
    # Ray counts in ten-thousandths; a sum must not exceed the node's CPUs by less.
    options: dict[str, Any] = {"num_cpus": math.floor(share.cpus / tasks * 10_000) / 10_000}
    if share.node is not None:
        options |= _pinned(share.node)
    ahead = min(ahead, slices_ahead(share.cpus))
    return _Pipeline(reader, share, share.node, turns, Submitted(), ahead, options)


def _words(pipelines: Sequence[_Pipeline]) -> str:
    """What is waited for: by the pipeline whose oldest task is oldest, all being taken in turn."""
    slowest = max(pipelines, key=lambda pipeline: max(pipeline.submitted.ages, default=0.0))
    return words(slowest.submitted, slowest.node, slowest.turns)


def _pinned(node: str) -> dict[str, Any]:
    """To a node; where it is lost, or others have its CPUs, to any."""
    return {
        "label_selector": {"ray.io/node-id": node},
        "fallback_strategy": [{"label_selector": {}}],
    }


def _start(
    pipelines: Sequence[_Pipeline], slices: Iterator[Slice], first: int, taken: Taken
) -> tuple[int, list[Iterator[pa.Table]]] | None:
    """The number of slices of the next data sets, and each pipeline's tables, the first ready."""
    chunk = list(islice(slices, _SLICES_PER_DATASET))
    if not chunk:
        return None
    tables = [_tables(pipeline, chunk, first, taken) for pipeline in pipelines]
    with ThreadPoolExecutor(len(tables), thread_name_prefix="first-slices") as pool:
        ready = list(pool.map(next, tables))
    return len(chunk), [chain([table], others) for table, others in zip(ready, tables, strict=True)]


def _tables(
    pipeline: _Pipeline, chunk: list[Slice], first: int, taken: Taken
) -> Iterator[pa.Table]:
    """A pipeline's tables of some slices, read once they are asked for."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.set_config(
        ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
        [
            partial(
                ReadAhead,
                tasks=pipeline.tasks,
                slices=pipeline.ahead,
                first=first,
                taken=taken,
                submitted=pipeline.submitted,
            )
        ],
    )
    mine = chunk if pipeline.share is None else list(parts(chunk, pipeline.share))
    dataset = ray.data.read_datasource(
        _SliceSource(pipeline.reader, mine, pipeline.turns),
        override_num_blocks=len(mine),
        **pipeline.options,
    )
    return iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1))
