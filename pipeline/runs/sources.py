"""What there is to cite for a recipe: the sources that its sections' docstrings name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipeline.recipe import Recipe
from pipeline.section import Section

_SOURCE = re.compile(r"[^(]+ \([^)]+, [^)]+, [^),]*\d{4}\)")


def sources(recipe: Recipe) -> list[str]:
    """The methods of a recipe with their authors, titles and years, each once.

    A method's `Config` begins its docstring with its name and, in brackets, its source.
    """
    return list(dict.fromkeys([*_named_in(recipe.objective), *_named_in(recipe.pairs)]))


def _named_in(value: Any) -> Iterator[str]:
    if isinstance(value, Section):
        found = _SOURCE.match(type(value).__doc__ or "")
        if found:
            yield found.group()
        for name in type(value).model_fields:
            yield from _named_in(getattr(value, name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _named_in(item)
