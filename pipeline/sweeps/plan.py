"""What a sweep would take: trials, processes, memory and hours, with nothing started."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipeline.planning.length import snapshot_samples, snapshot_steps, stream_plan, total_steps
from pipeline.recipe import Recipe
from pipeline.recipe_file import RecipeSource
from pipeline.sweeps.rate import images_per_second
from pipeline.sweeps.spaces.check import checked_sweep
from pipeline.sweeps.spaces.config import ASHAConfig, PBTConfig, SweepConfig
from pipeline.sweeps.spaces.recipes import sweep_config, trial_recipe
from pipeline.sweeps.spaces.rungs import rungs
from pipeline.sweeps.spaces.scores import MEASURES
from pipeline.sweeps.spaces.space import combinations, fixed_values, own_configuration
from pipeline.sweeps.trials.cores import bytes_of_trial, cores_of_trial

_PROCESSES_OF_RUN = 3
_STARTS_SECONDS = 15.0
"""From a trial's beginning to its first step, on a machine that is not busy."""


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """Figures of a sweep."""

    trials: int
    seeds: int
    dimensions: int
    optimize: list[str]
    searcher: str
    scheduler: str | None
    first: str
    """Which configuration comes first."""
    concurrent: int
    cores_of_trial: float
    processes: int
    memory_bytes: int
    steps: int
    looks: int
    look_every: int
    """Steps."""
    look_samples: int
    rungs: list[int]
    images_per_second: float
    """Of a run, measured on this machine."""
    hours_at_most: float
    """If no trial is stopped early."""
    hours_about: float
    """If at each rung as many are stopped as ASHA means to."""
    winner_hours: float
    """Of training the best configuration again, which comes after."""
    caveats: list[str]


def plan_sweep(
    recipe: RecipeSource | Recipe,
    overrides: Iterable[str] = (),
    *,
    space: RecipeSource | None = None,
) -> SweepPlan:
    """Say what a sweep would take; starts nothing, but takes a few steps on noise to time them.

    Args:
        recipe: a YAML file, nested mappings, or a recipe that was read before, with a `sweep`
            section unless `space` is given.
        overrides: settings to change, as `a.b=value`.
        space: a file with the `sweep` section, or its settings.

    Raises:
        UserError: with every mistake in the recipe, the sweep and what they name.
    """
    return plan_checked(checked_sweep(recipe, overrides, space=space))


def plan_checked(recipe: Recipe) -> SweepPlan:
    """Work out what a sweep would take.

    Args:
        recipe: as `checked_sweep` gives it.
    """
    config = sweep_config(recipe)
    trial = trial_recipe(recipe, {}, seed=0)
    cut = stream_plan(trial)
    steps = total_steps(trial, cut)
    every = snapshot_steps(trial, cut) or steps
    cores = cores_of_trial(recipe)
    concurrent = config.concurrent or max(1, int((os.cpu_count() or 1) / cores))
    count = _trials(recipe, config)
    concurrent = count if isinstance(config.scheduler, PBTConfig) else min(concurrent, count)
    rounds = math.ceil(count / concurrent)
    workers = trial.train.most_workers
    rate = images_per_second(trial)
    hours = (steps * trial.train.global_batch / rate + _STARTS_SECONDS) / 3600
    decisions = rungs(config, every=every, total=steps)
    kinds = {ASHAConfig: "asha", PBTConfig: "pbt"}
    return SweepPlan(
        trials=count,
        seeds=config.seeds,
        dimensions=len(config.space),
        optimize=[str(score) for score in config.optimize or ()],
        searcher=config.searcher,
        scheduler=kinds.get(type(config.scheduler)),  # type: ignore[arg-type]
        first=_first(recipe, config),
        concurrent=concurrent,
        cores_of_trial=cores,
        processes=concurrent * (1 + config.seeds * (_PROCESSES_OF_RUN + workers)),
        memory_bytes=concurrent * bytes_of_trial(recipe),
        steps=steps,
        looks=(steps - 1) // every + 1,
        look_every=every,
        look_samples=snapshot_samples(trial, cut),
        rungs=decisions,
        images_per_second=round(rate, 1),
        hours_at_most=round(rounds * hours, 3),
        hours_about=round(rounds * hours * _share(config, decisions, steps), 3),
        winner_hours=round(config.winner_seeds * hours, 3),
        caveats=list(_caveats(config)),
    )


def _trials(recipe: Recipe, config: SweepConfig) -> int:
    if config.searcher != "grid":
        return config.trials
    grid: Iterator[Any] = combinations(config.space, fixed_values(recipe, config.space))
    return sum(1 for _ in islice(grid, config.trials))


def _first(recipe: Recipe, config: SweepConfig) -> str:
    if config.searcher == "grid":
        return "the grid's first"
    own = own_configuration(recipe, config.space)
    return "the recipe's own values" if own else "drawn: a value of the recipe is outside the space"


def _share(config: SweepConfig, decisions: list[int], steps: int) -> float:
    """Of all steps, those that are taken if one in `reduction` goes on at each rung."""
    if not isinstance(config.scheduler, ASHAConfig):
        return 1.0
    taken, left, before = 0.0, 1.0, 0
    for rung in [*decisions, steps]:
        taken += left * (rung - before) / steps
        left, before = left / config.scheduler.reduction, rung
    return taken


def _caveats(config: SweepConfig) -> Iterator[str]:
    for score in config.optimize or ():
        if MEASURES[score].caveat:
            yield f"{score}: {MEASURES[score].caveat}"
