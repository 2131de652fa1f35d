"""Connecting to Ray: the cluster that RAY_ADDRESS names, or one of our own on this machine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray

from pipeline.data.ray_session import ray_session
from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe


@contextmanager
def connected(recipe: Recipe, *, verbose: bool) -> Iterator[None]:
    """Be connected to a Ray with room for the recipe while the body runs.

    Readers that together ask for more than there is would queue, and Ray then serves the same few
    of them again and again: a fraction in `data.ingest_cpus` gives each worker a share of its own.

    Raises:
        UserError: the cluster has no room, which Ray itself would wait for without a word.
    """
    most = cpus_needed(recipe, workers=recipe.train.most_workers)
    with ray_session(cpus=math.ceil(most), verbose=verbose):
        _refuse_too_small(recipe)
        yield


def cpus_needed(recipe: Recipe, *, workers: int) -> float:
    """Logical CPUs for so many workers and, with `ingest: ray`, their readers."""
    readers = recipe.data.ingest_cpus if recipe.data.ingest == "ray" else 0
    # Ray counts in ten-thousandths; a sum of fractions must not exceed the cluster by less.
    return round(workers * (1 + readers), 4)


def uses_gpu(recipe: Recipe) -> bool:
    """Whether every worker gets a GPU."""
    if recipe.train.device == "auto":
        return bool(ray.cluster_resources().get("GPU", 0) >= recipe.train.least_workers)
    return recipe.train.device == "cuda"


def is_one_machine() -> bool:
    """Whether all workers run where this process does. Ray must be connected."""
    return sum(node["Alive"] for node in ray.nodes()) == 1


def _refuse_too_small(recipe: Recipe) -> None:
    has = ray.cluster_resources()
    workers = recipe.train.least_workers
    needed = cpus_needed(recipe, workers=workers)
    found = []
    if has.get("CPU", 0) < needed:
        found.append(
            Problem(
                "train.workers",
                f"{workers} workers and their readers need {needed:g} "
                f"CPUs, the cluster has {has.get('CPU', 0):g}{_remedy(recipe, has)}",
            )
        )
    if recipe.train.device == "cuda" and has.get("GPU", 0) < workers:
        found.append(
            Problem(
                "train.device",
                f"cuda needs a GPU for each of {workers} workers, "
                f"the cluster has {has.get('GPU', 0):g}",
            )
        )
    if found:
        raise UserError(found)


def _remedy(recipe: Recipe, has: Mapping[str, float]) -> str:
    """The reader CPUs with which the workers would fit, if any."""
    if recipe.data.ingest != "ray":
        return ""
    spare = math.floor((has.get("CPU", 0) / recipe.train.least_workers - 1) * 100) / 100
    return f"; data.ingest_cpus={spare:g} would fit" if spare >= 0.01 else ""
