"""What forbids cutting a data set into streams, before anything is read."""

from __future__ import annotations

from pipeline.data.order.streams import StreamPlan
from pipeline.data.order.workers import allowed_workers
from pipeline.errors import Problem


def problems(
    *, samples: int, streams: int, global_batch: int, workers: int, excluded: int = 0
) -> list[Problem]:
    """What forbids a cut, each with what would be allowed.

    Args:
        samples: that are left to be served.
        streams: C.
        global_batch: G.
        workers: W.
        excluded: samples that are not left.
    """
    found = []
    if global_batch % streams:
        near = list(range(streams, global_batch + streams + 1, streams))[-2:]
        found.append(
            Problem(
                "train.global_batch",
                f"{global_batch} is not divisible by data.streams = {streams}; "
                f"nearest: {' or '.join(str(g) for g in near)}",
            )
        )
    if streams % workers:
        found.append(
            Problem(
                "train.workers",
                f"{workers} does not divide data.streams = {streams}; "
                f"allowed: {', '.join(str(w) for w in allowed_workers(streams))}",
            )
        )
    if not global_batch % streams and samples // streams < global_batch // streams:
        largest = samples // streams * streams
        remedy = (
            f"the largest batch that fits is {largest}"
            if largest
            else f"use at most {samples} streams"
        )
        given = f"{samples} samples" + (" that data.exclude leaves" if excluded else "")
        found.append(
            Problem(
                "train.global_batch",
                f"{global_batch} needs {global_batch // streams} samples of each of {streams} "
                f"streams, but the {given} give {samples // streams}; {remedy}",
            )
        )
    return found


def problems_of_sources(plan: StreamPlan) -> list[Problem]:
    """Manifests too small for the streams that their weights give them."""
    found = []
    if not plan.sources:
        return []
    for number, (samples, streams) in enumerate(plan.sources_left):
        if samples // streams < plan.per_batch:
            given = f"{samples} samples" + (" that data.exclude leaves" if plan.excluded else "")
            found.append(
                Problem(
                    f"data.shards[{number}]",
                    f"its {given} in {streams} streams are {samples // streams} each, a "
                    f"batch takes {plan.per_batch} of each; give it a smaller weight, or take a "
                    "smaller train.global_batch",
                )
            )
    return found
