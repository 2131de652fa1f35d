"""What all sections of a recipe have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A section of a recipe: settings that are unknown are refused, and numbers that are none.

    A number may be written as text, since YAML 1.1 reads 3e-4 as such; true and .inf are slips.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

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
