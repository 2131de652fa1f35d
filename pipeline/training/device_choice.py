"""Whether a run computes on GPUs, by what its cluster has and can have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ray
import yaml
from ray._private.state import state

from pipeline.learning.config import TrainConfig
from pipeline.training.demand import Resources

_HEAD = "node:__internal_head__"
_BOOTSTRAP = "ray_bootstrap_config.yaml"
"""Where `ray up` leaves the autoscaler's config, in the home folder of the head node."""


class Limits(NamedTuple):
    """What a cluster can have."""

    grows: bool
    """Whether nodes may come: not to a Ray that this process has started."""
    most: Resources | None
    """By its autoscaler's config; None: it has none, or one that cannot be seen from here."""


class DeviceChoice(NamedTuple):
    """What a run computes on."""

    gpu: bool
    """Whether every worker gets a GPU."""
    told: str | None
    """The choice and its reason, in a line; None: the recipe says it."""


def choose_device(train: TrainConfig, *, gpus: float, limits: Limits) -> DeviceChoice:
    """Decide what a run computes on, once for all of its starts.

    With `device: auto` on GPUs if the cluster has, or can have, one for each of the fewest workers
    allowed: no run trains on CPUs because a node was late.

    Args:
        train: the recipe's section.
        gpus: that the cluster has, in use or not.
        limits: of the cluster.
    """
    if train.device != "auto":
        return DeviceChoice(train.device == "cuda", None)
    workers = train.least_workers
    most = limits.most.get("GPU", 0) if limits.most is not None else None
    where = "the cluster" if limits.grows else "this machine"
    may = f" and may have {most:g}" if limits.grows and most else ""
    if max(gpus, most or 0) >= workers:
        return DeviceChoice(
            True, f"device: cuda, a GPU for each of {workers} workers; {where} has {gpus:g}{may}"
        )
    if gpus or most:
        return DeviceChoice(
            False, f"device: cpu, {workers} workers want a GPU each; {where} has {gpus:g}{may}"
        )
    told = f"device: cpu; {where} has no GPU"
    if limits.grows and most is None:
        told += " now, and what it may have is not known; train.device=cuda waits for GPUs"
    elif limits.grows:
        told += " and can have none"
    return DeviceChoice(False, told)


def cluster_limits() -> Limits:
    """What the cluster can have that this process is connected to."""
    node = ray._private.worker._global_node
    if node is not None and node.is_head():
        return Limits(grows=False, most=None)
    reported = state.get_max_resources_from_cluster_config()
    return Limits(grows=True, most=reported or _most_by_bootstrap(Path.home() / _BOOTSTRAP))


def _most_by_bootstrap(path: Path) -> Resources | None:
    """By the config that Ray's own autoscaler goes by, which it does not report."""
    here = ray.util.get_node_ip_address()
    on_head = any(
        node["Alive"] and _HEAD in node["Resources"] and node["NodeManagerAddress"] == here
        for node in ray.nodes()
    )
    if not on_head or not path.exists():
        return None
    return most_of_config(yaml.safe_load(path.read_text()))


def most_of_config(config: Mapping[str, Any]) -> Resources | None:
    """What the nodes of an autoscaler's config come to, at most.

    Args:
        config: as `ray up` takes it: `available_node_types`, `head_node_type`, `max_workers`.

    Returns:
        The largest amount of each resource by itself; None: a type does not say what it has.
    """
    head = config["head_node_type"]
    types = config["available_node_types"]
    if any("resources" not in of_type for of_type in types.values()):
        return None
    allowed = config.get("max_workers", 2)  # Ray's default
    found: dict[str, float] = {}
    for name in {name for of_type in types.values() for name in of_type["resources"]}:
        left, amount = allowed, types[head]["resources"].get(name, 0)
        workers = [of_type for other, of_type in types.items() if other != head]
        for of_type in sorted(workers, key=lambda t: -t["resources"].get(name, 0)):
            count = min(left, of_type.get("max_workers", allowed))
            amount += count * of_type["resources"].get(name, 0)
            left -= count
        found[name] = amount
    return found
