"""The recipe's settings of an EMA twin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from pipeline.section import Section


class EMAConfig(Section):
    """How a twin follows: w_twin <- m * w_twin + (1 - m) * w, after every step.

    A plain number in the recipe is an m that stays. What a section leaves out is as in the
    objective's default.
    """

    shorthand: ClassVar[JsonDict] = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}

    start: Annotated[float, Field(ge=0, le=1, description="m of the first step")] = 0.99
    end: Annotated[
        float | None,
        Field(ge=0, le=1, description="m of the last step; null: as at the start"),
    ] = None
    schedule: Annotated[
        Literal["cosine", "linear"], Field(description="how m goes from start to end")
    ] = "cosine"

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, Mapping | EMAConfig):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("input should be a number, or a section with start and end")
        return {"start": value}

    @model_validator(mode="after")
    def _moves(self) -> EMAConfig:
        if self.start == 1:
            raise ValueError("start must be below 1: a twin that never moves teaches nothing")
        return self

    def momentum(self, progress: float) -> float:
        """Momentum m: half a cosine (BYOL, Grill et al., 2020, section 3.3), or a straight line.

        Args:
            progress: share of the run's steps that are done, 0 to 1.
        """
        end = self.start if self.end is None else self.end
        left = 1 - progress if self.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
        return end - (end - self.start) * left
