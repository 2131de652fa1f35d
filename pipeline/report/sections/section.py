"""A section of the page, and how templates become one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with a heading of its own."""

    anchor: str
    title: str
    body: Markup


def rendered(template: str, **values: object) -> Markup:
    """A template of this package, filled in; what is not `Markup` is escaped."""
    return Markup(_environment().get_template(template).render(**values))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure_text
    return environment


def figure_text(value: Any) -> str:
    """A number as a person reads it: four digits that count, whole numbers with separators."""
    if isinstance(value, int):
        return f"{value:,}"
    if value is None:
        return "–"
    text = f"{value:.4g}"
    return "not a number" if text == "nan" else text
