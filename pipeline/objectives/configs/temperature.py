"""The recipe's settings of a temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    Field,
    model_serializer,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from pipeline.section import Section

_LEAST = 0.01


_MOST = 1.0


class TemperatureConfig(Section):
    """A temperature tau; a plain number in the recipe is a fixed one."""

    shorthand: ClassVar[JsonDict] = {"type": "number", "exclusiveMinimum": 0}

    start: Annotated[float, Field(gt=0, description="tau of the first step")]
    end: Annotated[
        float | None,
        Field(gt=0, description="tau of the last step, half a cosine later; null: as at the start"),
    ] = None
    learnable: Annotated[bool, Field(description="a parameter that begins at start")] = False
    least: Annotated[float, Field(gt=0, description="bound of a learnable one")] = _LEAST
    most: Annotated[float, Field(gt=0, description="bound of a learnable one")] = _MOST

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, Mapping | TemperatureConfig):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("input should be a number, or a section with start")
        if not 0 < value < math.inf:
            raise ValueError("input should be greater than 0 and finite")
        return {"start": value}

    @model_validator(mode="after")
    def _one_way(self) -> TemperatureConfig:
        if self.learnable and self.end is not None:
            raise ValueError("a learnable temperature has no end; give one of the two")
        if not self.learnable and (self.least, self.most) != (_LEAST, _MOST):
            raise ValueError("bounds are of a learnable temperature; allowed: learnable: true")
        if self.learnable and not self.least <= self.start <= self.most:
            raise ValueError(f"start {self.start} is not between {self.least} and {self.most}")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> Any:
        fixed = not self.learnable and self.end is None
        return self.start if fixed else handler(self)
