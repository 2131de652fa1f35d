"""The room that a sweep has on a cluster: how many trials fit at a time."""

from __future__ import annotations

import math
from dataclasses import replace

import ray

from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe
from pipeline.sweeps.spaces.config import PBTConfig, SweepConfig
from pipeline.sweeps.spaces.recipes import sweep_config
from pipeline.sweeps.trials.cores import bytes_of_trial, cores_of_trial
from pipeline.training.cluster import nodes_there
from pipeline.training.demand import demand_of

TRIAL_BYTES = 500 << 20
"""Of the actor that is a trial, which asks for this and for no CPU."""


def concurrent_trials(recipe: Recipe) -> int:
    """Trials at a time: as many as were asked for, or as there is room for. Ray is connected.

    Args:
        recipe: of the sweep, whose device is decided.

    Raises:
        UserError: there is no room for one, or not for as many as were asked for.
    """
    config = sweep_config(recipe)
    has = ray.cluster_resources()
    cores = cores_of_trial(recipe)
    fits = [_trials_that_fit(recipe)]
    fits.append(int(has.get("memory", 0) // bytes_of_trial(recipe)))
    room, wanted = min(fits), _wanted(config)
    if room < wanted:
        raise UserError(
            Problem(
                "sweep.concurrent",
                f"{wanted} at a time need {cores * wanted:g} CPUs and "
                f"{bytes_of_trial(recipe) * wanted >> 20} MiB; the cluster has "
                f"{has.get('CPU', 0):g} CPUs, {int(has.get('memory', 0)) >> 20} MiB, and room for "
                f"{room}",
            )
        )
    if isinstance(config.scheduler, PBTConfig):
        return config.trials
    return config.concurrent or min(room, config.trials)


def _trials_that_fit(recipe: Recipe) -> int:
    """By their CPUs and GPUs, each worker's on one node."""
    nodes, demand = nodes_there(), demand_of(recipe, gpu=recipe.train.device == "cuda")
    workers = sweep_config(recipe).seeds * recipe.train.most_workers
    fits = int(sum(node.get("CPU", 0) for node in nodes) / cores_of_trial(recipe) + 1e-6)
    while fits and not replace(demand, workers=fits * workers).fits(nodes):
        fits -= 1
    return fits


def _wanted(config: SweepConfig) -> int:
    """Trials that must fit: of a population all, since they are compared while they train."""
    return config.trials if isinstance(config.scheduler, PBTConfig) else config.concurrent or 1


def local_cpus(recipe: Recipe) -> int:
    """Logical CPUs that a Ray of one's own needs for as many trials as are asked for."""
    return math.ceil(cores_of_trial(recipe) * _wanted(sweep_config(recipe)))
