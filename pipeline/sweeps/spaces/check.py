"""Every mistake in a sweep that can be found with nothing started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from pydantic import ValidationError

from pipeline.errors import Problem, UserError
from pipeline.planning import evaluation_plan
from pipeline.planning.check import checked_recipe, find_problems
from pipeline.planning.length import stream_plan, total_steps
from pipeline.randomness import uniform
from pipeline.recipe import Recipe
from pipeline.recipe_file import RecipeSource, draft_recipe
from pipeline.runs.identity import is_free
from pipeline.sweeps.spaces.config import PBTConfig, SweepConfig
from pipeline.sweeps.spaces.dimension import DimensionConfig
from pipeline.sweeps.spaces.reading import with_space
from pipeline.sweeps.spaces.recipes import looks_of, trial_recipe
from pipeline.sweeps.spaces.scores import MEASURES, Score
from pipeline.sweeps.spaces.space import (
    Params,
    applied,
    drawn,
    fixed_values,
    ordered,
    recipe_with,
)

_NOT_RUNNING = ("kind", ".momentum", ".learnable")
"""Which the optimizer's or the objective's state has from the donor."""
_RUNNING_SETTINGS = ("objective.", "pairs.", "train.optimizer.")
_DRAWN = 12
"""Configurations, to see whether values are right together."""
_NOT_BUILT = ("train.optimizer.", "data.")
"""Settings of which no encoder or objective need be built to find what is wrong with them."""


def checked_sweep(
    source: RecipeSource | Recipe,
    overrides: Iterable[str] = (),
    *,
    space: RecipeSource | None = None,
) -> Recipe:
    """Read a recipe with its `sweep` section, and check both.

    Args:
        source: a YAML file, nested mappings, or a recipe that was read before.
        overrides: settings to change, as `a.b=value`, those of `sweep` among them.
        space: a file with the `sweep` section, whose settings take the place of the recipe's.

    Returns:
        The recipe, with absolute paths and with the scores that are optimised spelt out.

    Raises:
        UserError: with every mistake that can be found without starting anything.
    """
    values = with_space(source, space)
    problems: list[Problem] = []
    try:
        recipe: Recipe | None = checked_recipe(values, overrides)
    except UserError as error:
        problems += error.problems
        recipe = draft_recipe(values, overrides).recipe
        recipe = recipe.with_absolute_paths() if recipe is not None else None
    if recipe is not None and recipe.sweep is not None:
        recipe = _with_scores(recipe, recipe.sweep)
        problems += _problems(recipe)
    elif not any(problem.where.startswith("sweep") for problem in problems):
        problems.append(
            Problem("sweep", "the recipe has no such section; write one, or give --space FILE")
        )
    if problems or recipe is None:
        raise UserError(dict.fromkeys(problems))
    return recipe


def _with_scores(recipe: Recipe, config: SweepConfig) -> Recipe:
    """With the score that is meant if none is named: the linear probe, or the first there is."""
    if config.optimize is not None:
        return recipe
    probes = [str(probe) for probe in recipe.evaluate.probes]
    usual = Score.linear if Score.linear in probes else Score(probes[0])
    return recipe.model_copy(update={"sweep": config.model_copy(update={"optimize": (usual,)})})


def _problems(recipe: Recipe) -> list[Problem]:
    config = recipe.sweep
    assert config is not None
    found = [*_score_problems(recipe, config), *_kind_problems(config)]
    try:
        paths = ordered(config.space)
    except ValueError as error:
        return [*found, Problem("sweep.space", str(error))]
    known = set(find_problems(recipe))
    wrong = []
    for path in paths:
        problems = list(_dimension_problems(recipe, config, path, known))
        wrong += problems
    found += wrong
    if isinstance(config.scheduler, PBTConfig):
        found += _population_problems(recipe, config, right=not wrong)
    if not wrong:
        found += _length_problems(recipe, config)
        found += _together_problems(recipe, config, known)
    return found


def _score_problems(recipe: Recipe, config: SweepConfig) -> Iterator[Problem]:
    for score in config.optimize or ():
        if MEASURES[score].labels and recipe.evaluate.train is None:
            free = [str(other) for other, measure in MEASURES.items() if not measure.labels]
            yield Problem(
                "sweep.optimize",
                f"{score} needs the labels of evaluate.train, which is not given; without labels: "
                f"{', '.join(free)}",
            )
        varied = config.space.get("objective.kind")
        kinds = (varied.listed or ()) if varied else (recipe.objective.kind,)
        others = [kind for kind in kinds if kind != "lejepa"]
        if score == Score.lejepa_loss and others:
            yield Problem("sweep.optimize", f"lejepa_loss is LeJEPA's own, not {others[0]}'s")


def _kind_problems(config: SweepConfig) -> Iterator[Problem]:
    for path, dimension in config.space.items():
        where = f"sweep.space.{path}"
        if config.searcher == "grid" and dimension.listed is None:
            yield Problem(where, "searcher grid tries listed values; allowed: grid, choice")
        if config.searcher != "grid" and dimension.grid is not None:
            yield Problem(
                where, f"grid goes with searcher: grid; with {config.searcher} allowed: choice"
            )


def _dimension_problems(
    recipe: Recipe, config: SweepConfig, path: str, known: set[Problem]
) -> Iterator[Problem]:
    dimension = config.space[path]
    where = f"sweep.space.{path}"
    refused = _refused(path, config)
    if refused is not None:
        yield Problem(where, refused)
        return
    around = _around(recipe, config, dimension)
    if isinstance(around, Problem):
        yield Problem(where, around.message)
        return
    told: set[str] = set()
    build = not path.startswith(_NOT_BUILT)
    for others, value in product(around, dimension.extremes):
        for problem in _problems_of(recipe, {**others, path: value}, path, build=build):
            text = problem.message if problem.where == path else str(problem)
            if problem not in known and text not in told:
                told.add(text)
                of_path = problem.message.startswith("is not a setting")  # whatever the value
                yield Problem(where, text if of_path else f"{value}: {text}")


def _refused(path: str, config: SweepConfig) -> str | None:
    """Why a setting is none that can be searched."""
    if path in ("encoder.init", "data.exclude"):
        return "is what trials have in common; a sweep for each"
    if path == "seed":
        return "is what trials have in common; for several seeds of each: sweep.seeds"
    if is_free(path) or path.startswith("extensions"):
        return "changes nothing of what a run computes, so there is nothing to search"
    if path in ("train.epochs", "train.steps") and config.scheduler is not None:
        return (
            f"{config.scheduler.kind} compares trials of one length; allowed with scheduler: null"
        )
    return None


def _around(
    recipe: Recipe, config: SweepConfig, dimension: DimensionConfig
) -> list[Params] | Problem:
    """Values of others with which a dimension applies: each set of them that `when` allows."""
    fixed = fixed_values(recipe, config.space)
    found: list[Params] = [{}]
    for other, wanted in dimension.when.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if other in config.space:
            listed = config.space[other].listed
            fits = [value for value in values if listed is None or value in listed]
            if not fits:
                return Problem(
                    "", f"never applies: {other} is never {_either(values)} in this space"
                )
            inner = _around(recipe, config, config.space[other])
            if isinstance(inner, Problem):
                return inner
            found = [
                {**one, **more, other: value} for one in found for more in inner for value in fits
            ]
        elif other not in fixed:
            return Problem("", f"when: the recipe has no {other}")
        elif fixed[other] not in values:
            return Problem("", f"never applies: {other} is {fixed[other]}, not {_either(values)}")
    return found


def _either(values: list[Any]) -> str:
    return " or ".join(map(str, values))


def _problems_of(recipe: Recipe, params: Params, path: str, *, build: bool) -> list[Problem]:
    """What is wrong with the recipe with some values in it, that of one path among them."""
    try:
        values = applied(recipe, params)
    except ValueError as error:
        return [Problem(path, str(error).removeprefix(f"{path}: "))]
    draft = draft_recipe({**values, "sweep": None})
    if draft.problems or draft.recipe is None:
        return draft.problems
    return find_problems(draft.recipe, build=build)


def _population_problems(recipe: Recipe, config: SweepConfig, *, right: bool) -> Iterator[Problem]:
    if config.concurrent is not None and config.concurrent < config.trials:
        yield Problem(
            "sweep.concurrent",
            f"{config.concurrent}, but members of a population train at the same time; allowed: "
            f"{config.trials}, or fewer trials",
        )
    if len(config.optimize or ()) > 1:
        yield Problem("sweep.optimize", "pbt follows one score")
    if config.trials < 2:
        yield Problem("sweep.trials", f"pbt needs a population; got {config.trials}, allowed: >= 2")
    alike = True
    for path, dimension in config.space.items():
        where = f"sweep.space.{path}"
        if not path.startswith(_RUNNING_SETTINGS) or path.endswith(_NOT_RUNNING):
            alike = False
            if _refused(path, config) is None:
                yield Problem(
                    where,
                    "pbt changes settings of a running training; allowed: temperatures and weights "
                    "of objective and pairs, and the optimizer's rates",
                )
        elif dimension.when:
            yield Problem(where, "when has no meaning in a population, whose settings are one set")
    if right and alike:
        yield from _shape_problems(recipe, config)


def _shape_problems(recipe: Recipe, config: SweepConfig) -> Iterator[Problem]:
    """A setting that changes the weights' shapes cannot change while they are trained."""
    from pipeline.learning.learner import build_learner  # with torch

    def shapes(params: Params) -> dict[str, Any]:
        state = build_learner(recipe_with(recipe, params)).state_dict()
        return {name: value.shape for name, value in state.items()}

    for path, dimension in config.space.items():
        first, *others = (shapes({path: value}) for value in dimension.extremes)
        if any(other != first for other in others):
            yield Problem(
                f"sweep.space.{path}",
                "changes the shape of weights, which a running training cannot; search it with "
                "scheduler: asha",
            )


def _together_problems(
    recipe: Recipe, config: SweepConfig, known: set[Problem]
) -> Iterator[Problem]:
    """Values that are right each by itself, and mostly wrong together."""
    if config.searcher == "grid":
        return
    fixed, wrong = fixed_values(recipe, config.space), []
    for number in range(_DRAWN):
        params = drawn(
            config.space,
            fixed,
            lambda path, one, number=number: one.at(float(uniform("check", number, path))),  # type: ignore[misc]
        )
        told = _problems_of(recipe, params, "", build=False)
        new = [problem for problem in told if problem not in known]
        wrong += [f"{params}: {new[0]}"] if new else []
    if 2 * len(wrong) > _DRAWN:
        yield Problem(
            "sweep.space",
            f"of {_DRAWN} configurations drawn at random {len(wrong)} are none that can be "
            f"trained, such as {wrong[0]}",
        )


def _length_problems(recipe: Recipe, config: SweepConfig) -> Iterator[Problem]:
    try:
        trial = trial_recipe(recipe, {}, seed=0)
        steps = total_steps(trial, stream_plan(trial))
    except (UserError, ValidationError, ZeroDivisionError):
        return  # which is another problem
    if config.looks > steps:
        yield Problem("sweep.looks", f"{config.looks} looks at a trial of {steps} steps")
        return
    if config.scheduler is not None and not looks_of(recipe, trial):
        yield Problem(
            "sweep.looks",
            f"a trial is looked at once, at its end, so that {config.scheduler.kind} has nothing "
            "to decide by; allowed: more looks, a smaller evaluate.every, or scheduler: null",
        )
    for problem in evaluation_plan.problems(trial):
        if problem.where == "evaluate.every" and recipe.evaluate.every is None:
            yield Problem(
                "sweep.looks",
                f"{config.looks} looks at a trial are too many for its length: fewer than "
                "100 samples could be looked at; allowed: fewer looks, longer trials, or a larger "
                "evaluate.snapshot_share",
            )
