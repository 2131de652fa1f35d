"""A recipe's file and a space's file as one recipe, which has a `sweep` section."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe
from pipeline.recipe_file import RecipeSource, read_mapping

_NO_SPACE = "a space: it has no settings, such as `space:`"


def with_space(source: RecipeSource | Recipe, space: RecipeSource | None) -> dict[str, Any]:
    """The settings of a recipe, with those of a space in its `sweep` section.

    Args:
        source: a YAML file, nested mappings, or a recipe that was read before.
        space: the same of a `sweep` section, whose settings take the place of the recipe's.

    Raises:
        UserError: a file cannot be read, or the recipe's section is none.
    """
    if isinstance(source, Recipe):
        source = source.resolved()
    values = dict(source) if isinstance(source, Mapping) else read_mapping(Path(source))
    if space is None:
        return values
    more = space if isinstance(space, Mapping) else read_mapping(Path(space), what=_NO_SPACE)
    own = values.get("sweep") or {}
    if not isinstance(own, Mapping):
        raise UserError(Problem("sweep", f"{own!r} is no section, with `space:` and others"))
    return {**values, "sweep": {**own, **more}}
