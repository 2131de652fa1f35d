"""Which sizes a queue of past keys may have."""

from __future__ import annotations

from pipeline.errors import Problem


def queue_problems(size: int, *, global_batch: int) -> list[Problem]:
    """A queue that is no multiple of the global batch."""
    if size % global_batch == 0:
        return []
    near = max(global_batch, round(size / global_batch) * global_batch)
    return [
        Problem(
            "queue",
            f"{size} is not a multiple of train.global_batch = {global_batch}; the nearest is "
            f"{near}",
        )
    ]
