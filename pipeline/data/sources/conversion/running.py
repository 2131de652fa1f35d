"""Runs the tasks of a conversion: one by one in this process, or all over a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Literal, TypeVar

Result = TypeVar("Result")
On = Literal["auto", "inline", "ray"]

_CORES_WORTH_RAY = 4
_TASKS_WORTH_RAY = 100
_WAITING_FOR_EACH_CPU = 2


def where(on: On, *, tasks: int) -> Literal["inline", "ray"]:
    """Where so many tasks run: by `auto` on a cluster that is named, or many on a large machine.

    Ray takes seconds to start, and a process for each core.
    """
    if on != "auto":
        return on
    if "RAY_ADDRESS" in os.environ:
        return "ray"
    large = (os.cpu_count() or 1) >= _CORES_WORTH_RAY and tasks >= _TASKS_WORTH_RAY
    return "ray" if large else "inline"


def results(
    task: Callable[..., Result], calls: Iterable[tuple[Any, ...]], *, ray: bool
) -> Iterator[Result]:
    """What a task returns for each tuple of arguments: in order here, as they end on Ray.

    A few calls for each CPU that the cluster has at the moment are submitted ahead, so that the
    driver's memory does not grow with their number. Ray must be connected for `ray`.

    Args:
        task: takes the arguments, and `cpus`, how many it may fill.
        calls: the arguments.
        ray: whether they run on Ray, on a CPU each.

    Raises:
        Exception: what a task raised.
    """
    if not ray:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        for call in calls:
            yield task(*call, cpus=cpus or 1)
        return
    yield from _on_ray(task, iter(calls))


def _on_ray(task: Callable[..., Result], calls: Iterator[tuple[Any, ...]]) -> Iterator[Result]:
    import ray  # which a small conversion does without

    remote = ray.remote(num_cpus=1, max_retries=3)(task)
    pending: list[Any] = []
    try:
        while True:
            room = _WAITING_FOR_EACH_CPU * int(ray.cluster_resources().get("CPU", 1)) + 1
            for call in islice(calls, max(0, room - len(pending))):
                pending.append(remote.remote(*call, cpus=1))
            if not pending:
                return
            (done,), pending = ray.wait(pending)
            try:
                yield ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
    finally:
        for reference in pending:
            ray.cancel(reference)
