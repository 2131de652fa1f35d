"""Mistakes in the recipe's `evaluate` section that can be found before anything starts."""

from __future__ import annotations

import math

from pipeline.data.sources.manifest import load_manifest
from pipeline.data.sources.verify import verify
from pipeline.errors import Problem, UserError
from pipeline.planning.length import snapshot_samples, stream_plan
from pipeline.recipe import Recipe

_FEWEST_SAMPLES = 100  # with fewer a probe says little, and ranks are bounded by their number


def problems(recipe: Recipe) -> list[Problem]:
    """Labelled sets that cannot be used, and snapshots too often to be of any size."""
    return _problems_of_sets(recipe) + _problems_of_snapshots(recipe)


def _problems_of_sets(recipe: Recipe) -> list[Problem]:
    if recipe.evaluate.sets is None:
        return []
    found = []
    classes = []
    scored_on = "validation" if recipe.evaluate.validation else "test"
    for field, folder in zip(("train", scored_on), recipe.evaluate.sets, strict=True):
        faults = verify(folder)
        found += faults
        if not faults:
            manifest = load_manifest(folder)
            classes.append(manifest.classes)
            if not manifest.classes:
                found.append(
                    Problem(f"evaluate.{field}", f"{folder} has no labels, a probe needs them")
                )
    if len(classes) == 2 and classes[0] != classes[1]:
        found.append(
            Problem("evaluate", "train and test have other classes; shard them from one source")
        )
    return found


def _problems_of_snapshots(recipe: Recipe) -> list[Problem]:
    config = recipe.evaluate
    if config.every is None or any(verify(path) for path in recipe.data.manifests):
        return []
    try:
        plan = stream_plan(recipe)
    except UserError:
        return []  # which is another problem
    if not plan.steps_per_epoch:
        return []  # which is another problem
    wanted = min(config.snapshot_samples, _FEWEST_SAMPLES)
    if snapshot_samples(recipe, plan) >= wanted:
        return []
    share = config.snapshot_share
    steps = math.ceil(wanted / share / plan.global_batch)
    least = math.ceil(steps / plan.steps_per_epoch * 10) / 10
    return [
        Problem(
            "evaluate.every",
            f"{config.every:g} epochs: {share:.0%} of the samples in between are "
            f"{snapshot_samples(recipe, plan)}, too few; allowed: {least:g} or more, or null for "
            "once at the end",
        )
    ]
