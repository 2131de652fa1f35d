"""Every mistake in a recipe that can be found with nothing started, the cheap ones first.

Nothing here imports torch until the recipe itself is right: a typo is answered at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.data import storage
from pipeline.data.whole_file import cannot_hold
from pipeline.encoders.timm_names import problems_of_name
from pipeline.errors import Problem, UserError
from pipeline.planning import (
    data_plan,
    evaluation_plan,
    micro_batch_plan,
    pairs_plan,
    reading_plan,
)
from pipeline.planning.length import last_epoch
from pipeline.recipe import Recipe
from pipeline.recipe_file import RecipeSource, draft_recipe
from pipeline.registry import tracking_server


def checked_recipe(source: RecipeSource | Recipe, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe and check it against everything it names.

    Encoder and objective are built, which takes seconds, only if all names in it are known ones.

    Args:
        source: a YAML file, nested mappings, or a recipe that was read before.
        overrides: settings to change, as `a.b=value`; of a recipe that was read before, whose
            defaults are written out, another `kind` leaves settings that it does not have.

    Returns:
        The recipe, with absolute paths.

    Raises:
        UserError: with every mistake that can be found without starting anything.
    """
    if isinstance(source, Recipe):
        source = source.resolved()
    draft = draft_recipe(source, overrides)
    problems = list(draft.problems)
    recipe = draft.recipe.with_absolute_paths() if draft.recipe else None
    if recipe is not None:
        blamed = [problem.where for problem in problems]
        problems += [
            problem
            for problem in find_problems(recipe, blamed=blamed, build=not draft.misspelt)
            if not _compares(problem, blamed)
        ]
    if problems or recipe is None:
        raise UserError(dict.fromkeys(problems))  # a set may serve for training and probing
    return recipe


def refuse_misspelt(source: RecipeSource, overrides: Iterable[str] = ()) -> None:
    """Check a recipe with a misspelt name, without torch; all others are left to `checked_recipe`.

    Raises:
        UserError: with the slip, and every other mistake that can be found without torch.
    """
    draft = draft_recipe(source, overrides)
    name = draft.recipe.encoder.name if draft.recipe and not draft.recipe.extensions else ""
    if draft.misspelt or (name and problems_of_name(name)):
        checked_recipe(source, overrides)


def _compares(problem: Problem, blamed: Iterable[str]) -> bool:
    """Whether a problem rests on a setting that was wrong, and now has its default.

    So has every setting of a section that is wrong as a whole, but for `train`. Settings are looked
    for as whole dotted names, so that no path that contains one is mistaken.
    """
    return any(
        problem.where == setting
        or (setting != "train" and problem.where.startswith(f"{setting}."))
        or (
            "." in setting
            and re.search(rf"(?<![\w./]){re.escape(setting)}(?![\w./])", problem.message)
        )
        for setting in blamed
    )


def find_problems(
    recipe: Recipe, *, blamed: Iterable[str] = (), build: bool = True
) -> list[Problem]:
    """Every mistake that can be found without starting anything.

    Args:
        recipe: with absolute paths.
        blamed: settings known to be wrong, in whose place the recipe has defaults or stand-ins.
        build: whether encoder and objective are built to find what is wrong with them.
    """
    blamed = set(blamed)
    found = []
    if not any(setting == "data" or setting.startswith("data.shards") for setting in blamed):
        found += _data_problems(recipe)
    found += _elastic_problems(recipe)
    if not blamed & {"data", "data.streams", "train.global_batch", "train.workers", "views"}:
        found += reading_plan.problems(recipe)
    found += micro_batch_plan.problems(recipe)
    found += [
        Problem(f"objective.{where}", message)
        for where, message in recipe.objective.problems(global_batch=recipe.train.global_batch)
    ]
    found += evaluation_plan.problems(recipe)
    if not blamed & {"encoder", "encoder.name"}:
        found += _model_problems(recipe, build=build)
    if recipe.train.trace is not None and (fault := cannot_hold(Path(recipe.train.trace))):
        found.append(Problem("train.trace", fault))
    return found + _tracking_problems(recipe)


def _data_problems(recipe: Recipe) -> list[Problem]:
    workers = 1 if _is_elastic(recipe) else recipe.train.most_workers
    cut, found = data_plan.checked_cut(recipe, workers=workers)
    if cut is not None and cut.steps_per_epoch:
        found += pairs_plan.start_problems(recipe, last_epoch=last_epoch(recipe))
    return found


def _is_elastic(recipe: Recipe) -> bool:
    return recipe.train.least_workers < recipe.train.most_workers


def _model_problems(recipe: Recipe, *, build: bool) -> list[Problem]:
    # A module of the user's may bring models of its own, of which only timm knows.
    found = [] if recipe.extensions else problems_of_name(recipe.encoder.name)
    if found or not build:
        return found
    from pipeline.planning import model_plan  # with torch

    return model_plan.problems(recipe)


def _elastic_problems(recipe: Recipe) -> list[Problem]:
    if not _is_elastic(recipe) or recipe.data.ingest == "inline":
        return []
    if recipe.data.readers == "beside":  # on CPUs that are their worker's
        return []
    why = "readers anywhere would starve where Ray gives their CPUs to more workers"
    return [Problem("data.readers", f"a range of train.workers needs beside: {why}")]


def _tracking_problems(recipe: Recipe) -> list[Problem]:
    found = []
    if fault := storage.unreachable(recipe.tracking.storage):
        found.append(Problem("tracking.storage", fault))
    try:
        uri = tracking_server.tracking_uri(recipe.tracking.uri, recipe.tracking.storage)
    except UserError as error:
        return found + error.problems
    problem = tracking_server.unreachable(uri)
    return [*found, problem] if problem else found
