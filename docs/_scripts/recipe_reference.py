"""Writes docs/recipe.md, the reference of a recipe's settings, from the settings' models.

python -m docs._scripts.recipe_reference
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from docs._scripts.settings import Section, Setting, all_sections

PAGE = Path(__file__).parents[1] / "recipe.md"

_HEAD = """\
<!-- Written by `make reference` from the settings' models: change them, not this page. -->
# Reference of settings

Every setting of a recipe, by section. [Recipes](recipes.md) is the guide; `python -m jobs schema`
prints the same as a JSON schema, by which editors complete and check a recipe.

A key is written as on the command line, `train.epochs=10`, and in the file as nested sections. A
setting without a default must be given. Where a section may be given in short, its type says so: a
number, a word or null in the section's place. Numbers are finite. A setting that is not here is
refused, with the nearest one that is.
"""

_LINKED_KINDS = 3  # of a section; more are linked where they are listed
_COLUMNS = ("Key", "Type", "Default", "Unit", "Allowed", "Meaning")


def page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([_HEAD, *_body()])


def _body() -> Iterator[str]:
    (_, recipe), *rest = all_sections()
    headings = {found.name: _heading(at, found) for at, found in rest}
    yield "## The recipe\n"
    yield from _table(recipe, headings)
    for top in (row.key for row in recipe.settings if row.sections):
        inner = [(at, found) for at, found in rest if at.partition(".")[0] == top]
        kinds = [found for at, found in inner if at == top]
        yield f"## {top}\n"
        if len(kinds) == 1:
            yield from _section(kinds[0], headings)
        else:
            yield _of_kinds(kinds)
            for kind in kinds:
                yield f"### {headings[kind.name]}\n"
                yield from _section(kind, headings)
        for at, found in inner:
            if at != top:
                yield f"### {headings[found.name]}\n"
                yield from _section(found, headings)


def _heading(at: str, found: Section) -> str:
    if not found.kind or at == "views":
        return at
    return found.kind if at == "objective" else f"{at}: {found.kind}"


def _of_kinds(kinds: list[Section]) -> str:
    names = ", ".join(f"[`{kind.kind}`](#{kind.kind})" for kind in kinds)
    return f"`kind` is one of {names}. What they do is in [Objectives](objectives.md).\n"


def _section(found: Section, headings: Mapping[str, str]) -> Iterator[str]:
    yield f"{found.about}\n"
    if found.kind:
        yield f"`kind: {found.kind}`, and:\n" if found.settings else f"`kind: {found.kind}`.\n"
    yield from _table(found, headings)


def _table(found: Section, headings: Mapping[str, str]) -> Iterator[str]:
    if found.settings:
        yield _line(_COLUMNS)
        yield _line(["---"] * len(_COLUMNS))
        yield from (_line(_cells(row, headings)) for row in found.settings)
        yield ""


def _cells(row: Setting, headings: Mapping[str, str]) -> Iterator[str]:
    yield f"`{row.key}`"
    yield _linked(row, headings)
    yield "" if row.default is None else f"`{row.default}`" if _literal(row) else row.default
    yield row.unit
    yield row.allowed
    yield row.description


def _linked(row: Setting, headings: Mapping[str, str]) -> str:
    """The type, in which a section leads to its table, or to that of each of its kinds."""
    if not row.sections:
        return row.type
    targets = {headings[name]: _anchor(headings[name]) for name in row.sections}
    if len(targets) > _LINKED_KINDS:
        targets = {"section": "objective"}
    if len(targets) == 1:
        (target,) = targets.values()
        return re.sub(r"sections?", lambda word: f"[{word[0]}](#{target})", row.type)
    kinds = (f"[{name.partition(': ')[2]}](#{target})" for name, target in targets.items())
    return row.type.replace("section", f"section of kind {' or '.join(kinds)}")


def _anchor(heading: str) -> str:
    """What GitHub and mkdocs make of a heading."""
    return re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-")


def _literal(row: Setting) -> bool:
    """Whether the default is what a recipe may have, and not a phrase."""
    return row.default is not None and " defaults" not in row.default


def _line(cells: Iterator[str] | list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page())
