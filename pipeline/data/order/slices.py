"""Slices: the read tasks that a worker's order is cut into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.data.order.streams import StreamPlan


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A read task: consecutive positions of each of a worker's streams, in one epoch."""

    epoch: int
    ranges: tuple[tuple[int, int, int], ...]  # (stream, start, stop), in stream order


def slices(
    plan: StreamPlan,
    *,
    positions: dict[int, int],
    step: int,
    total_steps: int,
    per_stream: int,
) -> Iterator[Slice]:
    """The slices of a worker's streams from a cursor on, in the order in which they are needed.

    Args:
        plan: the cut.
        positions: where each of the worker's streams stands in the epoch of that step.
        step: global batches already taken since the run began.
        total_steps: global batches of the whole run.
        per_stream: positions of each stream in a slice; a slice ends with its epoch.
    """
    while step < total_steps:
        epoch = step // plan.steps_per_epoch
        stop = min((epoch + 1) * plan.steps_per_epoch, total_steps)
        length = (stop - step) * plan.per_batch
        for low in range(0, length, per_stream):
            high = min(low + per_stream, length)
            yield Slice(
                epoch=epoch,
                ranges=tuple((s, at + low, at + high) for s, at in sorted(positions.items())),
            )
        step = stop
        positions = dict.fromkeys(positions, 0)
