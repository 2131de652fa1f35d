"""A space: what trials of it are, and the recipe that settings of it make."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from pipeline.recipe import Recipe, recipe_of
from pipeline.recipe_file import put
from pipeline.sweeps.spaces.dimension import DimensionConfig

Params = dict[str, Any]
"""A configuration: values by dotted path."""

Space = Mapping[str, DimensionConfig]

_MISSING = object()


def ordered(space: Space) -> list[str]:
    """The paths, those that `when` asks for before those that ask.

    Raises:
        ValueError: some ask for each other.
    """
    waiting, found = list(space), []
    while waiting:
        free = [path for path in waiting if not set(space[path].when) & set(waiting)]
        if not free:
            raise ValueError(f"{', '.join(waiting)} wait for each other")
        found += free
        waiting = [path for path in waiting if path not in free]
    return found


def drawn(
    space: Space, fixed: Mapping[str, Any], choose: Callable[[str, DimensionConfig], Any]
) -> Params:
    """A configuration: a value for each dimension that applies.

    Args:
        space: of the sweep.
        fixed: the recipe's own values, for `when`.
        choose: gives a value of a dimension.
    """
    params: Params = {}
    for path in ordered(space):
        if space[path].applies({**fixed, **params}):
            params[path] = choose(path, space[path])
    return params


def combinations(space: Space, fixed: Mapping[str, Any]) -> Iterator[Params]:
    """Every configuration of listed values, the last dimension's changing fastest."""
    paths = ordered(space)
    told = set()
    for values in itertools.product(*(space[path].listed or () for path in paths)):
        given = dict(zip(paths, values, strict=True))
        params = drawn(space, fixed, lambda path, _, given=given: given[path])  # type: ignore[misc]
        # What does not apply makes equal ones of several combinations.
        text = json.dumps(params, sort_keys=True)
        if text not in told:
            told.add(text)
            yield params


def own_values(recipe: Recipe, space: Space) -> Params:
    """What the recipe itself has of a space's settings; without those that it lacks."""
    values = recipe.resolved()
    found = {path: _at(values, path) for path in space}
    return {path: _short(value) for path, value in found.items() if value is not _MISSING}


def own_configuration(recipe: Recipe, space: Space) -> Params | None:
    """The recipe itself as a configuration; None if a value of it is outside the space."""
    own = own_values(recipe, space)
    fixed = fixed_values(recipe, space)
    active = [path for path in ordered(space) if space[path].applies({**fixed, **own})]
    if all(path in own and space[path].allows(own[path]) for path in active):
        return {path: own[path] for path in active}
    return None


def fixed_values(recipe: Recipe, space: Space) -> Params:
    """The recipe's own values of what `when` asks for and the space does not vary."""
    asked = {path for dimension in space.values() for path in dimension.when} - set(space)
    values = recipe.resolved()
    found = {path: _at(values, path) for path in asked}
    return {path: _short(value) for path, value in found.items() if value is not _MISSING}


def applied(recipe: Recipe, params: Params) -> dict[str, Any]:
    """The recipe's settings with a configuration in them.

    A section of another `kind` begins anew, since what the recipe says of it is of its own kind.

    Raises:
        ValueError: a number in a path is none of a list's items.
    """
    values = deepcopy(recipe.resolved())
    # Kinds first, and the outer of two, since with it the inner one's section is gone.
    for path in sorted(params, key=lambda path: (not path.endswith(".kind"), path.count("."))):
        *parents, last = path.split(".")
        if last == "kind" and _at(values, path) != params[path]:
            fault = put(values, parents, {"kind": params[path]})
        else:
            fault = put(values, [*parents, last], deepcopy(params[path]))
        if fault is not None:
            raise ValueError(f"{path}: {fault}")
    if "train.epochs" in params:
        values["train"]["steps"] = None
    if "train.steps" in params:
        values["train"]["epochs"] = None
    return values


def recipe_with(recipe: Recipe, params: Params) -> Recipe:
    """The recipe with a configuration in it.

    Raises:
        ValidationError: a value is wrong there.
    """
    return recipe_of(applied(recipe, params))


def _at(values: Any, path: str) -> Any:
    for key in path.split("."):
        if isinstance(values, Mapping) and key in values:
            values = values[key]
        elif isinstance(values, list) and key.isdecimal() and int(key) < len(values):
            values = values[int(key)]
        else:
            return _MISSING
    return values


def _short(value: Any) -> Any:
    """A schedule that stays where it starts as the number that stands for it in recipes."""
    stays = isinstance(value, Mapping) and "start" in value and value.get("end") is None
    return value["start"] if stays and not value.get("learnable") else value
