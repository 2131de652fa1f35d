"""Connecting to Ray: the cluster that RAY_ADDRESS names, or one of our own on this machine."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipeline.data.ray_session import ray_session
from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe
from pipeline.training.demand import Demand, Resources, demand_of, shortage
from pipeline.training.device_choice import Limits, choose_device, cluster_limits
from pipeline.training.waiting_for_room import wait_for_room, what_there_is


@contextmanager
def connected(recipe: Recipe, *, verbose: bool) -> Iterator[bool]:
    """Be connected to a Ray with room for the recipe while the body runs.

    Readers that together ask for more than there is would queue, and Ray then serves the same few
    of them again and again: a fraction in `data.ingest_cpus` gives each worker a share of its own.

    Yields:
        Whether every worker gets a GPU, for `train_on_ray`.

    Raises:
        UserError: the cluster has no room, can have none, or has had none for `train.wait_minutes`,
            which Ray itself would wait for without a word.
    """
    most = cpus_needed(recipe, workers=recipe.train.most_workers)
    with ray_session(cpus=math.ceil(most), verbose=verbose):
        gpu = decided_device(recipe).train.device == "cuda"
        _have_room(recipe, demand_of(recipe, gpu=gpu), cluster_limits())
        yield gpu


def decided_device(recipe: Recipe) -> Recipe:
    """A recipe whose `train.device` is `cpu` or `cuda`; `auto` is decided, and that is told.

    Ray must be connected. Who asks twice may get two answers, since nodes come and go.
    """
    gpus = sum(node.get("GPU", 0) for node in nodes_there())
    choice = choose_device(recipe.train, gpus=gpus, limits=cluster_limits())
    if choice.told:
        print(choice.told, file=sys.stderr, flush=True)
    device = "cuda" if choice.gpu else "cpu"
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"device": device})})


def cpus_needed(recipe: Recipe, *, workers: int) -> float:
    """Logical CPUs for so many workers and, with `ingest: ray`, their readers."""
    readers = recipe.data.ingest_cpus if recipe.data.ingest == "ray" else 0
    # Ray counts in ten-thousandths; a sum of fractions must not exceed the cluster by less.
    return round(workers * (1 + readers), 4)


def is_one_machine() -> bool:
    """Whether all workers run where this process does. Ray must be connected."""
    return sum(node["Alive"] for node in ray.nodes()) == 1


def nodes_there() -> list[Resources]:
    """What each node has, free or not. Ray must be connected."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _have_room(recipe: Recipe, demand: Demand, limits: Limits) -> None:
    if not limits.grows:
        found = shortage(recipe, demand, nodes_there())
    elif (beyond := _beyond(demand, limits)) is not None:
        found = [beyond]
    elif wait_for_room(demand, minutes=recipe.train.wait_minutes):
        found = []
    else:
        found = _waited_in_vain(recipe, demand)
    if found:
        raise UserError(found)


def _beyond(demand: Demand, limits: Limits) -> Problem | None:
    """What the cluster can never have, which Ray Train refuses too."""
    if limits.most is None:
        return None
    for name, needed in demand.total.items():
        if needed > limits.most.get(name, 0):
            return Problem(
                "train.device" if name == "GPU" else "train.workers",
                f"{demand} need {needed:g} {name}s, the cluster can have "
                f"{limits.most.get(name, 0):g}",
            )
    return None


def _waited_in_vain(recipe: Recipe, demand: Demand) -> list[Problem]:
    minutes = recipe.train.wait_minutes
    waited = f"; waited {minutes:g} minutes (train.wait_minutes)" if minutes else ""
    found = shortage(recipe, demand, nodes_there())
    if not found:
        text = f"{demand} were asked for; the cluster has {what_there_is(demand)}"
        found = [Problem("train.workers", text)]
    return [Problem(where, f"{message}{waited}") for where, message in found]
