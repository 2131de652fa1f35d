"""What the runs of a trial hold."""

from __future__ import annotations

from pipeline.recipe import Recipe
from pipeline.sweeps.spaces.recipes import sweep_config
from pipeline.training.cluster import cpus_needed


def cores_of_trial(recipe: Recipe) -> float:
    """Logical CPUs that the runs of a trial hold."""
    config = sweep_config(recipe)
    return config.seeds * cpus_needed(recipe, workers=recipe.train.most_workers)
