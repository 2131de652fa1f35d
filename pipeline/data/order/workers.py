"""How many workers may train: the numbers that divide the streams."""

from __future__ import annotations


def allowed_workers(streams: int) -> list[int]:
    """Worker counts that divide the streams."""
    return [workers for workers in range(1, streams + 1) if streams % workers == 0]


def workers_that_train(streams: int, *, started: int) -> int:
    """The largest allowed number of workers among those that were started; the rest wait."""
    return max(workers for workers in allowed_workers(streams) if workers <= started)
