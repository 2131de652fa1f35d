"""The order of an epoch as a table: what an undisturbed run serves, known before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.data.order.shuffle import StreamOrder
from pipeline.data.order.streams import Ids, StreamPlan
from pipeline.data.whole_file import cannot_hold, whole_parquet
from pipeline.errors import Problem, UserError

ORDER_SCHEMA = pa.schema(
    [
        ("global_batch", pa.int64()),  # counted from 0 in the epoch
        ("stream", pa.int32()),
        ("position", pa.int64()),  # in the stream's order of the epoch
        ("sample_id", pa.int64()),
    ]
)

_ROWS_AT_A_TIME = 1 << 18


def write_order(path: Path, plan: StreamPlan, shard_boundaries: Ids, *, epoch: int) -> int:
    """Write the order of an epoch as Parquet, replacing the file in one step.

    Args:
        path: the file.
        plan: the cut.
        shard_boundaries: ids at which shards begin, and the end; (shards + 1,) int64.
        epoch: counted from 0.

    Returns:
        The number of rows: one for each position that an epoch without bad samples serves.

    Raises:
        UserError: the file cannot be written.
    """
    if fault := cannot_hold(path):
        raise UserError(Problem("--order", fault))
    rows = 0
    try:
        with whole_parquet(path, ORDER_SCHEMA) as writer:
            for table in epoch_order(plan, shard_boundaries, epoch=epoch):
                writer.write_table(table)
                rows += len(table)
    except OSError as error:
        raise UserError(Problem("--order", f"{path} cannot be written: {error}")) from error
    return rows


def epoch_order(
    plan: StreamPlan, shard_boundaries: Ids, *, epoch: int, rows_at_a_time: int = _ROWS_AT_A_TIME
) -> Iterator[pa.Table]:
    """The order of an epoch, by (global batch, stream, position), in tables of bounded length.

    Args:
        plan: the cut.
        shard_boundaries: ids at which shards begin, and the end; (shards + 1,) int64.
        epoch: counted from 0.
        rows_at_a_time: of a table, in whole global batches and at least one.
    """
    orders = [
        StreamOrder(plan, shard_boundaries, epoch=epoch, stream=stream)
        for stream in range(plan.streams)
    ]
    at_a_time = max(1, rows_at_a_time // plan.global_batch)
    for first in range(0, plan.steps_per_epoch, at_a_time):
        last = min(first + at_a_time, plan.steps_per_epoch)
        shape = (last - first, plan.streams, plan.per_batch)
        low, high = first * plan.per_batch, last * plan.per_batch
        ids = np.stack([order.ids(low, high).reshape(shape[0], shape[2]) for order in orders], 1)
        batch = np.arange(first, last)[:, None, None]
        stream = np.arange(plan.streams, dtype=np.int32)[None, :, None]
        position = np.arange(low, high).reshape(shape[0], 1, shape[2])
        columns = [*(np.broadcast_to(part, shape) for part in (batch, stream, position)), ids]
        yield pa.table([column.ravel() for column in columns], schema=ORDER_SCHEMA)
