"""What the runs of a trial hold."""

from __future__ import annotations

from pipeline.planning.plan import plan_recipe
from pipeline.recipe import Recipe
from pipeline.sweeps.spaces.recipes import sweep_config, trial_recipe
from pipeline.training.cluster import cpus_needed

_TRIAL_BYTES = 450 << 20
_RUN_BYTES = (380 + 2 * 195) << 20  # a controller, and the two actors that it has beside workers
_WORKER_BYTES = 380 << 20
"""Resident, of Ray 2.60's processes with torch imported, as measured."""


def cores_of_trial(recipe: Recipe) -> float:
    """Logical CPUs that the runs of a trial hold."""
    config = sweep_config(recipe)
    return config.seeds * cpus_needed(recipe, workers=recipe.train.most_workers)


def bytes_of_trial(recipe: Recipe) -> int:
    """Memory that a trial's processes take, with the training's state on the CPU."""
    config, trial = sweep_config(recipe), trial_recipe(recipe, {}, seed=0)
    of_worker = _WORKER_BYTES + plan_recipe(trial).memory_bytes
    return _TRIAL_BYTES + config.seeds * (_RUN_BYTES + trial.train.most_workers * of_worker)
