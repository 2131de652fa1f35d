"""Evaluating a snapshot in a process of Ray's, on a node that has the memory for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

import ray
from ray._private.state import state
from ray.exceptions import TaskUnschedulableError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.data import storage
from pipeline.evaluation.snapshot import Evaluation
from pipeline.training.demand import Resources
from pipeline.training.evaluator import Fit

_PROCESS_BYTES = 900 << 20
"""Resident, of a process with torch and scikit-learn that has fitted to little, as measured."""
_COPIES = 5
"""Of a snapshot that kNN and linear probes hold, as measured: 3 of 39 MiB, 5 of 156 MiB."""
_ATTEMPTS = 4
_PAUSE_SECONDS = 1.0


class Place(NamedTuple):
    """Where an evaluation is to run."""

    node: str
    """Hex id."""
    free: int
    """Bytes of memory that nobody has asked for."""


@ray.remote(num_cpus=0, max_retries=0)  # or Ray would try for ever what a node has no memory for
def _evaluate(fit: Fit, location: str) -> Evaluation:
    return fit(location)


def fit_aside(fit: Fit, location: str) -> Evaluation:
    """Evaluate a snapshot on the node with the most memory left, which is asked for.

    No CPU is: trainers and readers have them, and an evaluation must not wait for theirs. If no
    node has the memory the evaluation is tried all the same, and its `note` says so. A node that is
    lost is replaced by another one.

    Args:
        fit: evaluates it.
        location: of the saved snapshot.

    Raises:
        OutOfMemoryError: the node's memory did not suffice.
        WorkerCrashedError: the evaluation's process ended again and again.
    """
    needed = bytes_to_evaluate(storage.size_of(location) or 0)
    for attempt in range(_ATTEMPTS):
        place = place_for_evaluation(ray.nodes(), state.available_resources_per_node())
        short = place.free < needed
        task = _evaluate.options(
            **({} if short else {"memory": needed}),
            scheduling_strategy=NodeAffinitySchedulingStrategy(
                place.node, soft=False, _fail_on_unavailable=True
            ),
        )
        try:
            found = Evaluation(*ray.get(task.remote(fit, location)))
        except (TaskUnschedulableError, WorkerCrashedError):
            # The node is gone, or another run has asked for its memory meanwhile.
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return found._replace(note=_told(needed, place)) if short else found
    raise AssertionError("every attempt returns or raises")


def bytes_to_evaluate(snapshot: int) -> int:
    """Memory that it takes to evaluate a snapshot of so many bytes."""
    return _PROCESS_BYTES + _COPIES * snapshot


def place_for_evaluation(nodes: list[dict[str, object]], free: Mapping[str, Resources]) -> Place:
    """The node with the most memory left among those that have CPUs, as a bare head has none.

    Args:
        nodes: as Ray lists them.
        free: of each node, by its id, what nobody has.
    """
    places = []
    for node in nodes:
        resources, name = node["Resources"], str(node["NodeID"])
        if node["Alive"] and isinstance(resources, Mapping) and resources.get("CPU", 0):
            places.append(Place(name, int(free.get(name, {}).get("memory", 0))))
    return max(places, key=lambda place: (place.free, place.node))


def _told(needed: int, place: Place) -> str:
    return (
        f"it takes some {needed >> 20} MiB to evaluate a snapshot; no node has so much left, and "
        f"it was tried on one with {place.free >> 20} MiB"
    )
