"""Templates of the page, which stand beside those of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report.sections.section import Section, figure_text

Key = tuple[str, str, str]
"""A colour of the page, a sign that has it, and what that means."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawing with its caption."""

    drawing: Markup
    title: str = ""
    notes: Sequence[str] = ()
    width: float | None = None
    """In rem, of one that does not get narrower with the page."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A place in a table."""

    text: str
    short: bool = True  # a short one is not broken


def rendered(template: str, **values: object) -> Markup:
    """A template of the page or of the report, filled in; what is not `Markup` is escaped."""
    return Markup(_environment().get_template(template).render(**values))


def picture_section(
    anchor: str,
    title: str,
    *,
    lead: Sequence[str] = (),
    broad: Sequence[Picture] = (),
    small: Sequence[tuple[str, Sequence[Picture]]] = (),
    key: Sequence[Key] = (),
    notes: Sequence[str] = (),
    more: Markup | str = "",
) -> Section:
    """A section of pictures.

    Args:
        anchor: of the section.
        title: of the section.
        lead: paragraphs before the pictures.
        broad: pictures as broad as the page.
        small: pictures side by side, in groups with a heading each.
        key: what the colours mean.
        notes: below the pictures.
        more: what stands at the end.
    """
    body = rendered(
        "pictures.html", lead=lead, broad=broad, small=small, key=key, notes=notes, more=more
    )
    return Section(anchor=anchor, title=title, body=body)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("pipeline.sweeps.page"), PackageLoader("pipeline.report")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure_text
    return environment
