"""The user's file: read, overridden, and checked with all its mistakes at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe, recipe_class
from pipeline.recipe_errors import MISSPELT, explain, place


class Draft(BaseModel):
    """What could be read of a recipe: its mistakes, and a recipe if they leave one."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    recipe: Recipe | None
    problems: list[Problem]
    misspelt: bool = False
    """Whether a setting or a kind is none that there is, so that nobody knows what was meant."""


RecipeSource = str | Path | Mapping[str, Any]
"""A recipe's file, or its settings as nested mappings."""


def load_recipe(source: RecipeSource, overrides: Iterable[str] = ()) -> Recipe:
    """A recipe, typed, with its defaults; what it names (shards, encoders) is not looked at.

    Args:
        source: a YAML file, or nested mappings.
        overrides: settings to change, as `a.b=value`.

    Raises:
        UserError: with every mistake in it.
    """
    draft = draft_recipe(source, overrides)
    if draft.problems or draft.recipe is None:
        raise UserError(draft.problems)
    return draft.recipe


def draft_recipe(source: RecipeSource, overrides: Iterable[str] = ()) -> Draft:
    """Read a recipe that may have mistakes.

    A setting that is wrong is reported and then left out, so that its default takes its place and
    checks of the other settings can go on: the user sees all mistakes at once.

    Raises:
        UserError: the file cannot be read, or an override is not of the form `a.b=c`.
    """
    raw = _plain(source) if isinstance(source, Mapping) else read_mapping(Path(source))
    _apply(overrides, raw)
    problems: list[Problem] = []
    model = _class_for(raw, problems)
    removed: set[tuple[int | str, ...]] = set()
    misspelt = False
    while True:
        try:
            recipe = model.model_validate(raw)
            return Draft(recipe=recipe, problems=problems, misspelt=misspelt)
        except ValidationError as error:
            found = {details["loc"] for details in error.errors()}
            new = [d for d in error.errors() if not _follows(d, removed=removed, found=found)]
            problems += [explain(details, model) for details in new]
            misspelt = misspelt or any(details["type"] in MISSPELT for details in new)
            removed |= {details["loc"] for details in new}
            mended = _mend(raw, error.errors(), model)
            if mended == raw:
                return Draft(recipe=None, problems=problems, misspelt=misspelt)
            raw = mended


def _class_for(raw: dict[str, Any], problems: list[Problem]) -> type[Recipe]:
    """By the extensions that the values name; those that are wrong are left out and reported."""
    names = raw.get("extensions")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return Recipe
    try:
        return recipe_class(tuple(names))
    except UserError as error:
        problems += error.problems
        del raw["extensions"]
        return Recipe


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings as the dictionaries that a file would give; a copy, since mistakes are cut out."""
    return {key: _plain_value(value) for key, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, list | tuple):
        return [_plain_value(item) for item in value]
    return deepcopy(value)


def read_mapping(path: Path, *, what: str = "a recipe: it has no sections") -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        path: of the file.
        what: it is not, if there is no mapping in it.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        raw = yaml.load(path.read_text(), Loader=_Loader)
    except OSError as error:
        raise UserError(Problem(str(path), f"cannot be read: {error.strerror}")) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(Problem(str(path), f"is not YAML: {error}")) from error
    if not isinstance(raw, dict):
        raise UserError(Problem(str(path), f"is not {what}"))
    return raw


_STAND_INS: dict[tuple[int | str, ...], Any] = {
    ("data",): {"shards": ""},
    ("data", "shards"): "",
    ("encoder",): {"name": ""},
    ("encoder", "name"): "",
    ("train",): {"epochs": 1},
}


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but 1e-3 is a number, as in YAML 1.2 and everywhere else."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _apply(overrides: Iterable[str], raw: dict[str, Any]) -> None:
    problems = []
    for override in overrides:
        dotted, equals, text = override.partition("=")
        keys = dotted.split(".")
        if not equals or not all(keys):
            problems.append(Problem(override, "is not of the form a.b=value"))
            continue
        try:
            value = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError as error:
            problems.append(Problem(dotted, f"{text!r} is not YAML: {error}"))
            continue
        fault = put(raw, keys, value)
        if fault:
            problems.append(Problem(dotted, fault))
        elif dotted in ("train.steps", "train.epochs") and value is not None:
            # Saying one on the command line means: not the other that the file has.
            raw["train"].pop("epochs" if dotted == "train.steps" else "steps", None)
    if problems:
        raise UserError(problems)


def put(raw: dict[str, Any], keys: Sequence[str], value: Any) -> str | None:
    """Set what keys lead to in nested mappings and lists, of which a key is a number.

    Returns:
        What is wrong with a number, if it is.
    """
    section: Any = raw
    for number, key in enumerate(keys):
        last = number == len(keys) - 1
        if isinstance(section, list):
            if not (key.isdecimal() and int(key) < len(section)):
                listed = ".".join(keys[:number])
                return f"{key!r} is none of the {len(section)} items of {listed}, counted from 0"
            place: Any = int(key)
        else:
            place = key
        if last:
            section[place] = value
            break
        inner = section[place] if isinstance(section, list) else section.get(place)
        if not isinstance(inner, dict | list):
            inner = section[place] = {}
        section = inner
    return None


def _follows(
    details: ErrorDetails,
    *,
    removed: set[tuple[int | str, ...]],
    found: set[tuple[int | str, ...]],
) -> bool:
    """Whether an error comes of settings that are wrong, or were left out because they were."""
    loc = details["loc"]
    if details["type"] == "too_short":  # pydantic counts the items that are right
        return any(len(other) > len(loc) and other[: len(loc)] == loc for other in found)
    if loc == ("train",):
        return bool(removed & {("train", "epochs"), ("train", "steps")})
    return details["type"] == "missing" and any(gone[: len(loc)] == loc for gone in removed)


def _mend(
    raw: dict[str, Any], errors: Iterable[ErrorDetails], model: type[Recipe]
) -> dict[str, Any]:
    """The recipe without what is wrong in it, with stand-ins for what it cannot do without."""
    mended = deepcopy(raw)
    for details in errors:
        loc = place(details["loc"], model).loc
        if details["type"] == "missing" and loc in _STAND_INS:
            *parents, last = loc
            section = mended
            for key in parents:
                section = section[str(key)]
            section[str(last)] = deepcopy(_STAND_INS[loc])
        elif details["type"] == "missing":
            _remove(mended, loc[:-1])
        elif loc == ("train",) and isinstance(mended.get("train"), dict):
            rest = {k: v for k, v in mended["train"].items() if k not in ("epochs", "steps")}
            mended["train"] = {**rest, "epochs": 1}
        else:
            _remove(mended, loc)
    return mended


def _remove(raw: dict[str, Any], loc: Iterable[int | str]) -> None:
    section = raw
    for key in loc:
        inner = section.get(str(key))
        if not isinstance(inner, dict) or key == tuple(loc)[-1]:
            section.pop(str(key), None)
            return
        section = inner
