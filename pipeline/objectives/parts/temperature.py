"""Temperatures: fixed, on a schedule, or learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import (
    Field,
    model_serializer,
    model_validator,
)
from pydantic_core.core_schema import SerializerFunctionWrapHandler
from torch import Tensor, nn

from pipeline.section import Section

_LEAST, _MOST = 0.01, 1.0


class TemperatureConfig(Section):
    """A temperature tau; a plain number in the recipe is a fixed one."""

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


class Temperature(nn.Module):
    """A temperature as it changes during a run."""

    def __init__(self, config: TemperatureConfig) -> None:
        super().__init__()
        self._config = config
        # By its logarithm, so that a step changes it by a factor (as in CLIP).
        start = torch.tensor(math.log(config.start))
        self.log_value = nn.Parameter(start) if config.learnable else None

    def forward(self, progress: float) -> Tensor | float:
        """Tau; a scalar with gradient if it is learnt.

        Args:
            progress: share of the run's steps that are done, 0 to 1.
        """
        if self.log_value is not None:
            return self.log_value.exp()
        start, end = self._config.start, self._config.end
        if end is None:
            return start
        return end - (end - start) * (1 + math.cos(math.pi * progress)) / 2

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring a learnt one back within its bounds; to be called after each step."""
        if self.log_value is not None:
            self.log_value.clamp_(math.log(self._config.least), math.log(self._config.most))
