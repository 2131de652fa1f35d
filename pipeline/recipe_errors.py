"""pydantic's errors in the words of the user's file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pipeline.errors import Problem

MISSPELT = ("extra_forbidden", "union_tag_invalid", "literal_error", "enum")
"""pydantic's types of errors where a name is none that there is."""

_WRONG_KIND = ("union_tag_invalid", "union_tag_not_found", "model_attributes_type")


def explain(details: ErrorDetails, root: type[BaseModel]) -> Problem:
    """What is wrong with which setting, and what is allowed.

    Args:
        details: one error of pydantic's.
        root: the model of the whole file.
    """
    where = ".".join(str(part) for part in place(details["loc"], root).loc) or "recipe"
    if details["type"] == "extra_forbidden":
        allowed = _settings(place(details["loc"][:-1], root).model)
        near = difflib.get_close_matches(str(details["loc"][-1]), allowed, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(allowed)}"
        return Problem(where, f"is not a setting; {hint}")
    if details["type"] == "missing":
        section = place(details["loc"][:-1], root).model
        if details["loc"][-1] == "kind" and section:
            return Problem(where, f"is missing; allowed: {', '.join(_by_kind([section]))}")
        return Problem(where, "is missing")
    kinds = place(details["loc"], root).kinds
    if details["type"] in _WRONG_KIND and kinds:
        return _explain_kind(details["input"], where, kinds)
    message = details["msg"].removeprefix("Value error, ")
    given = details["input"]
    if isinstance(given, Mapping):
        return Problem(where, message)
    return Problem(where, f"{given!r} is wrong: {message[:1].lower()}{message[1:]}")


def _explain_kind(given: Any, where: str, kinds: Iterable[str]) -> Problem:
    allowed = f"allowed: {', '.join(kinds)}"
    if not isinstance(given, Mapping):
        return Problem(where, f"{given!r} is not a section with a kind; {allowed}")
    if "kind" not in given:
        return Problem(f"{where}.kind", f"is missing; {allowed}")
    near = difflib.get_close_matches(str(given["kind"]), kinds, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else allowed
    return Problem(f"{where}.kind", f"{given['kind']!r} is wrong; {hint}")


def _settings(model: type[BaseModel] | None) -> list[str]:
    fields = model.model_fields if model else {}
    return sorted(field.alias or name for name, field in fields.items())


class Place(NamedTuple):
    """What a location of pydantic's means: it names the kind between a section and its setting."""

    loc: tuple[int | str, ...]  # in the user's file
    model: type[BaseModel] | None  # of the section that is there
    kinds: Mapping[str, type[BaseModel]]  # that the section may be of


def place(loc: Iterable[int | str], root: type[BaseModel]) -> Place:
    """Follow a location from the model of the whole file."""
    untagged: list[int | str] = []
    model: type[BaseModel] | None = root
    kinds: Mapping[str, type[BaseModel]] = {}
    for key in loc:
        if key in kinds:
            model, kinds = kinds[str(key)], {}
            continue
        untagged.append(key)
        if isinstance(key, int):  # an item of a list, whose type the list's annotation names
            continue
        fields = model.model_fields if model else {}
        field = next((f for name, f in fields.items() if key in (name, f.alias)), None)
        nested = _models_in(field.annotation) if field else []
        kinds = _by_kind(nested) if field and field.discriminator else {}
        model = nested[0] if nested else None
    return Place(tuple(untagged), model, kinds)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _by_kind(models: Iterable[type[BaseModel]]) -> dict[str, type[BaseModel]]:
    return {get_args(model.model_fields["kind"].annotation)[0]: model for model in models}
