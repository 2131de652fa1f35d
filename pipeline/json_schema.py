"""The recipe's JSON schema, by which editors complete and check it as it is typed.

It is made of the sections' models. What their validators take in short stands beside them, as
`Section.shorthand` or as a field's `or_short`. It is narrower than the reader in one thing: a
number in quotes is read, but here it is a string.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe
from pipeline.section import Section

_TITLE = "Recipe of ssl-on-ray"
_DRAFT = "http://json-schema.org/draft-07/schema#"
"""What editors' YAML servers read in full; they warn of later ones."""


def recipe_schema() -> dict[str, Any]:
    """The JSON schema (draft 7) of a recipe's file, with objectives, miners and arbiters of ours.

    A recipe that it takes may still have mistakes that compare settings, or what they name; those
    `load_recipe` and `plan` find.
    """
    schema = Recipe.model_json_schema(
        ref_template="#/definitions/{model}", schema_generator=_Generator
    )
    definitions = schema.pop("$defs")
    return {"$schema": _DRAFT, **schema, "title": _TITLE, "definitions": definitions}


def schema_as_text() -> str:
    """The schema as a file has it."""
    return json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n"


def is_schema(path: Path) -> bool:
    """Whether a file is this schema, of any version."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("title") == _TITLE


def write_schema(path: Path) -> None:
    """Write the schema into a file.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.write_text(schema_as_text())
    except OSError as error:
        raise UserError(Problem(str(path), f"cannot be written: {error.strerror}")) from error


class _Generator(GenerateJsonSchema):
    """pydantic's, without titles, which say no more than names, and with tuples as of draft 7."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def get_title_from_name(self, name: str) -> str:
        return name

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Of a section that is left out no more than its kind: its settings have their defaults."""
        default = schema.get("default")
        if not isinstance(default, Section) or default.model_fields_set:
            return super().default_schema(schema)
        made = self.generate_inner(schema["schema"])
        kind = getattr(default, "kind", None)
        return made if kind is None else {**made, "default": {"kind": kind}}

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Without OpenAPI's word for it: each kind's section says which kind it is."""
        made = super().tagged_union_schema(schema)
        made.pop("discriminator", None)
        return made

    def tuple_schema(self, schema: core_schema.TupleSchema) -> JsonSchemaValue:
        """A tuple of one type is a list of that type; ours have no others."""
        made = super().tuple_schema(schema)
        items = made.pop("prefixItems", None)
        if items is not None:
            first, *others = items
            assert all(item == first for item in others)
            made["items"] = first
        return made
