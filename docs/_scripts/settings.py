"""The recipe's settings as rows, read from its JSON schema, by which editors know them, too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pipeline

Schema = dict[str, Any]

_TYPES = {
    "boolean": "true or false",
    "integer": "whole number",
    "null": "null",
    "number": "number",
    "object": "mapping",
    "string": "text",
}
_ITS_OWN = "its settings' defaults"
_ITEMS = {"list of sections": "[]", "mapping of sections": ".*"}
"""What stands for any item of a setting of such a type."""
_UNITS = (  # by name and description, the first that fits
    (r"_bytes: ", "bytes"),
    (r"\bin pixels\b", "pixels"),
    (r"\bin degrees\b", "degrees"),
    (r"^\w+: minutes\b", "minutes"),
    (r"^\w+: (steps|global batches)\b", "steps"),
    (r"^\w+: (passes|epochs|first epoch)\b", "epochs"),
    (r"^\w+: (samples|past keys)\b", "samples"),
    (r"^\w+: logical CPUs\b", "CPUs"),
    (r"\bshare\b|^\w+: chance\b", "share"),
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A row of a table."""

    key: str
    """Dotted, as on the command line; `[]` stands for any item of a list."""
    type: str
    default: str | None
    """As YAML; None where the setting must be given."""
    unit: str
    allowed: str
    """Ranges and words; empty where the type says it all."""
    description: str
    sections: tuple[str, ...]
    """Names of the definitions that it may be of."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table."""

    name: str
    """Of the definition in the schema."""
    kind: str | None
    """Its word in recipes, if it is one of several."""
    about: str
    """What its docstring says."""
    settings: tuple[Setting, ...]


def definition(schema: Schema, name: str) -> Schema:
    """A section's own schema, without what stands for the whole of it in short."""
    found: Schema = schema if name == "Recipe" else schema["definitions"][name]
    return next((part for part in found.get("anyOf", ()) if "properties" in part), found)


def section(schema: Schema, name: str, *, prefix: str) -> Section:
    """A section's settings, their keys begun with a prefix."""
    found = definition(schema, name)
    kind = found["properties"].get("kind", {}).get("const")
    rows = (
        _setting(
            schema, f"{prefix}.{key}".lstrip("."), value, needed=key in found.get("required", ())
        )
        for key, value in found["properties"].items()
        if "const" not in value
    )
    return Section(name=name, kind=kind, about=found.get("description", ""), settings=tuple(rows))


def _setting(schema: Schema, key: str, value: Schema, *, needed: bool) -> Setting:
    sections = tuple(_sections(schema, value))
    description = value.get("description", "")
    if not description and len(sections) == 1:
        description = _first_line(definition(schema, sections[0]).get("description", ""))
    types, allowed = _alternatives(schema, value)
    name = key.rpartition(".")[2]
    return Setting(
        key=key,
        type=" or ".join(dict.fromkeys(types)),
        default=None if needed else _default(value, sections),
        unit=_unit(f"{name}: {description}"),
        allowed="; ".join(dict.fromkeys(text for text in allowed if text)),
        description=" ".join(description.split()),
        sections=sections,
    )


def _first_line(text: str) -> str:
    first = text.partition("\n\n")[0].rstrip(".")
    return first[:1].lower() + first[1:]


def _unit(text: str) -> str:
    return next((unit for pattern, unit in _UNITS if re.search(pattern, text)), "")


def _default(value: Schema, sections: tuple[str, ...]) -> str:
    default = value.get("default", {})
    if len(sections) == 1 and isinstance(default, dict) and set(default) <= {"kind"}:
        return _ITS_OWN
    return as_yaml(default)


def as_yaml(value: Any) -> str:
    """A value on one line, as a recipe may have it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    if isinstance(value, str):
        return value
    return json.dumps(value)


def _alternatives(schema: Schema, value: Schema) -> tuple[list[str], list[str]]:
    """Types that a value may have, and what of each is allowed."""
    if "$ref" in value:
        found = schema["definitions"][value["$ref"].rpartition("/")[2]]
        return _alternatives(schema, found)
    if "properties" in value:
        return ["section"], []
    for several in ("anyOf", "oneOf"):
        if several in value:
            parts = [_alternatives(schema, part) for part in value[several]]
            types = [name for found, _ in parts for name in found]
            both = [kind for kind in types if kind != "whole number" or "number" not in types]
            return both, [*(text for _, found in parts for text in found), _range(value)]
    if "enum" in value:
        return ["word" if isinstance(value["enum"][0], str) else "whole number"], [
            ", ".join(map(as_yaml, value["enum"]))
        ]
    if "type" not in value:
        return ["any value"], []
    if value["type"] == "array":
        return _list(schema, value)
    values = value.get("additionalProperties")
    if isinstance(values, dict) and "$ref" in values:
        return ["mapping of sections"], ["not empty"] if value.get("minProperties") else []
    return [_TYPES[value["type"]]], [_range(value)]


def _list(schema: Schema, value: Schema) -> tuple[list[str], list[str]]:
    (item, *_), allowed = _alternatives(schema, value["items"])
    least, most = value.get("minItems", 0), value.get("maxItems")
    allowed = [f"each {text}" for text in allowed if text]
    if most is not None and least == most:
        return [f"list of {most} {item}s"], allowed
    few = {0: "", 1: "not empty"}.get(least, f"at least {least} of them")
    return [f"list of {item}s"], [*allowed, few]


def _range(value: Schema) -> str:
    bounds = (
        ("exclusiveMinimum", "> {}"),
        ("minimum", "≥ {}"),
        ("exclusiveMaximum", "< {}"),
        ("maximum", "≤ {}"),
        ("multipleOf", "multiple of {}"),
    )
    return ", ".join(text.format(value[name]) for name, text in bounds if name in value)


def _sections(schema: Schema, value: Schema) -> Iterator[str]:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        if "properties" in definition(schema, name):
            yield name
        return
    for part in (*value.get("anyOf", ()), *value.get("oneOf", ())):
        yield from _sections(schema, part)
    for inner in ("items", "additionalProperties"):
        if isinstance(value.get(inner), dict):
            yield from _sections(schema, value[inner])


def all_sections() -> Iterator[tuple[str, Section]]:
    """Every section once, with the place where it is first met, each before those within it."""
    schema = pipeline.recipe_schema()
    seen: set[str] = set()

    def visit(name: str, prefix: str) -> Iterator[tuple[str, Section]]:
        if name in seen:
            return
        seen.add(name)
        found = section(schema, name, prefix=prefix)
        yield prefix, found
        for row in found.settings:
            for inner in row.sections:
                yield from visit(inner, row.key + _ITEMS.get(row.type.rpartition(" or ")[2], ""))

    yield from visit("Recipe", "")
