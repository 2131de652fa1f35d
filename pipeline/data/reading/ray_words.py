"""What a worker waits for on Ray, in words: its read tasks and the nodes that they are on."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grpc
import ray
from ray._private.internal_api import node_stats
from ray._private.state import available_resources_per_node

from pipeline.data.reading.turns import Turns

_PATIENCE_SECONDS = 5.0
_NEARLY_FULL = 0.9
_BUSY = 1.5  # processes that want to run, for each core


class Submitted:
    """Since when each read task of a pipeline is on its way."""

    def __init__(self) -> None:
        self._of_data_sets: dict[int, dict[int, float]] = {}

    def __deepcopy__(self, _: Any) -> Submitted:
        return self  # Ray copies the settings of every data set; all note in the same place

    def note(self, data_set: int, tasks: Sequence[int]) -> None:
        """Take down which tasks of a data set there are now."""
        before, now = self._of_data_sets.pop(data_set, {}), time.time()
        if tasks:
            self._of_data_sets[data_set] = {task: before.get(task, now) for task in tasks}

    @property
    def ages(self) -> list[float]:
        """For how many seconds each task has been on its way."""
        now = time.time()
        data_sets = list(self._of_data_sets.values())
        return [now - since for tasks in data_sets for since in tasks.values()]


class NodeFacts(NamedTuple):
    """What is known of a node that reads."""

    name: str
    reading: int | None
    """Tasks of the pipeline that read; None: the node does not answer."""
    load: float
    """Processes that want to run, for each core."""
    cpus: float
    free_cpus: float
    store_share: float
    """Of its object store, that is taken."""


def words(submitted: Submitted, node: str | None, turns: Turns) -> str:
    """What a pipeline waits for; asks the node, which takes some seconds if it does not answer.

    Args:
        submitted: of the pipeline.
        node: to which its tasks go; None: to any.
        turns: of its tasks.
    """
    ages = submitted.ages
    if not ages:
        return "no read task is under way: Ray Data starts, or ends, a data set"
    if node is None:
        return f"{len(ages)} read tasks on any node, the oldest for {max(ages):.0f} s"
    alive = {entry["NodeID"]: entry for entry in ray.nodes() if entry["Alive"]}
    if node not in alive:
        return f"{len(ages)} read tasks that move to other nodes, since theirs was lost"
    return described(_facts(alive[node], turns), oldest=max(ages), tasks=len(ages))


def described(facts: NodeFacts, *, oldest: float, tasks: int) -> str:
    """What facts of a node say of tasks that have been sent to it.

    Args:
        facts: of the node.
        oldest: seconds that the first of the tasks has been on its way.
        tasks: sent.
    """
    name = facts.name
    if facts.reading is None:
        told = f"{tasks} read tasks on node {name}, which does not answer"
    elif facts.reading:
        why = "a slow node or store"
        if facts.load > _BUSY:
            why = f"{facts.load:.1f} processes want each of its cores"
        told = f"{facts.reading} read tasks on node {name}, the oldest for {oldest:.0f} s ({why})"
    else:
        others = " (others hold them)" if facts.free_cpus < 1 else ""
        told = (
            f"no read task runs, for {oldest:.0f} s: node {name} has {facts.free_cpus:g} of "
            f"{facts.cpus:g} CPUs free{others}"
        )
    if facts.store_share > _NEARLY_FULL:
        told += f"; object store of node {name} is {facts.store_share:.0%} full"
    return told


def _facts(node: Mapping[str, Any], turns: Turns) -> NodeFacts:
    asked = _look.options(label_selector={"ray.io/node-id": node["NodeID"]}).remote(turns)
    try:
        reading, load = ray.get(asked, timeout=_PATIENCE_SECONDS)
    except ray.exceptions.RayError:  # no answer in time, or the node was lost meanwhile
        ray.cancel(asked)
        reading, load = None, 0.0
    free = available_resources_per_node().get(node["NodeID"], {})
    return NodeFacts(
        name=node["NodeManagerAddress"],
        reading=reading,
        load=load,
        cpus=node["Resources"].get("CPU", 0),
        free_cpus=free.get("CPU", 0),
        store_share=_store_share(node) if reading is not None else 0.0,
    )


def _store_share(node: Mapping[str, Any]) -> float:
    try:
        stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], False).store_stats
    except grpc.RpcError:  # a node that is busy; the other words are said all the same
        return 0.0
    return float(stats.object_store_bytes_used / max(1, stats.object_store_bytes_avail))


@ray.remote(num_cpus=0, max_retries=0)
def _look(turns: Turns) -> tuple[int, float]:
    return turns.now_taken(), os.getloadavg()[0] / (os.cpu_count() or 1)
