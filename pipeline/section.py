"""What all sections of a recipe have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.config import JsonDict, JsonValue
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Section(BaseModel):
    """A section of a recipe: settings that are unknown are refused, and numbers that are none.

    A number may be written as text, since YAML 1.1 reads 3e-4 as such; true and .inf are slips.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    shorthand: ClassVar[JsonDict | None] = None
    """JSON schema of what may stand in the section's place, which a validator makes one of."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        section = handler(core_schema)
        return section if cls.shorthand is None else {"anyOf": [cls.shorthand, section]}

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        # As text, pydantic refuses it at its place, and goes on to the other settings.
        return {
            name: str(value).lower() if isinstance(value, bool) and cls._counts(name) else value
            for name, value in given.items()
        }

    @classmethod
    def _counts(cls, setting: Any) -> bool:
        """Whether a setting is a number, and not also a switch."""
        field = cls.model_fields.get(setting)
        kinds = {field.annotation, *get_args(field.annotation)} if field else set()
        return bool({int, float} & kinds) and bool not in kinds


def or_short(shorthand: JsonDict, **notes: JsonValue) -> Callable[[JsonDict], None]:
    """For a field's `json_schema_extra`: what its validator takes for the whole, beside the whole.

    Args:
        shorthand: JSON schema of it.
        notes: of the field, such as its default in short.
    """

    def add(schema: JsonDict) -> None:
        whole = {name: schema.pop(name) for name in list(schema) if name not in _NOTES}
        others = whole["anyOf"] if list(whole) == ["anyOf"] else [whole]
        assert isinstance(others, list)
        schema |= {"anyOf": [shorthand, *others], **notes}

    return add


_NOTES = ("title", "description", "default")


def kind_of(config: type[BaseModel]) -> str:
    """The word that names a class of settings in recipes."""
    (kind,) = get_args(config.model_fields["kind"].annotation)
    return str(kind)


def kind_alone(*configs: type[BaseModel]) -> JsonDict:
    """JSON schema of the word for a section of one of some kinds, with its defaults."""
    return {"enum": [kind_of(config) for config in configs]}
