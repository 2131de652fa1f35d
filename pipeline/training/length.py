"""How a recipe's data is cut, and how many steps its run has."""

from __future__ import annotations

from pipeline.data.manifest import load_manifest
from pipeline.data.streams import StreamPlan
from pipeline.recipe import Recipe


def stream_plan(recipe: Recipe) -> StreamPlan:
    """The cut of the recipe's data."""
    return StreamPlan(
        seed=recipe.seed,
        samples=load_manifest(recipe.data.shards).samples,
        streams=recipe.data.streams,
        global_batch=recipe.train.global_batch,
        shuffle_window=recipe.data.shuffle_window,
    )


def total_steps(recipe: Recipe, plan: StreamPlan) -> int:
    """Global batches of the whole run."""
    if recipe.train.steps is not None:
        return recipe.train.steps
    assert recipe.train.epochs is not None
    return recipe.train.epochs * plan.steps_per_epoch
