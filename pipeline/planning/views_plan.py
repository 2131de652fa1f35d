"""Which views and masks a recipe's objective and encoder can work on."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from pipeline.encoders.backbone import feature_width
from pipeline.errors import Problem, UserError
from pipeline.learning.learner import Learner
from pipeline.recipe import Recipe
from pipeline.views import masks


def problems(recipe: Recipe, learner: Learner) -> Iterator[Problem]:
    """Views that the objective or the encoder cannot work on."""
    objective = learner.objective
    kind, views, allowed = recipe.objective.kind, recipe.views, objective.capabilities
    fits = views.count >= allowed.views if allowed.more_views else views.count == allowed.views
    if not fits:
        needed = f"{'at least ' if allowed.more_views else ''}{allowed.views}"
        noun = "view" if allowed.views == 1 else "views"
        yield Problem("views.count", f"{views.count}, but {kind} works on {needed} {noun}")
    if views.local and not allowed.local_views:
        yield Problem(
            "views.local",
            f"{views.local.count} views of {views.local.size} px, but {kind} uses no local views; "
            "allowed: null",
        )
    elif views.local:
        yield from _local_size_problems(learner.encoder, views.local.size)
    if objective.grid is None and views.masks:
        yield Problem("views.masks", f"{views.masks.kind}, but {kind} masks nothing; allowed: null")
    if objective.grid and not views.masks:
        yield Problem(
            "views.masks", f"null, but {kind} predicts masked patches; allowed: kind: multiblock"
        )
    if objective.grid and views.masks:
        for message in masks.problems(views.masks, grid=objective.grid):
            yield Problem("views.masks", message)


def warnings(recipe: Recipe) -> Iterator[str]:
    """Augmentations where an objective predicts patches, which its authors do without."""
    views = recipe.views
    names = ("jitter", "grayscale", "flip", "blur", "solarize", "rotate")
    used = [f"{name} {value:g}" for name in names if (value := getattr(views, name))]
    if views.masks and used:
        yield (
            f"views: {', '.join(used)}: {recipe.objective.kind} is meant for views that are only "
            "cropped; 0 turns each of them off"
        )


def _local_size_problems(encoder: nn.Module, size: int) -> list[Problem]:
    try:
        feature_width(encoder, size)
    except UserError as error:
        return [Problem("views.local.size", problem.message) for problem in error.problems]
    return []
