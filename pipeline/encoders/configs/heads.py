"""Widths of heads, as a recipe gives them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _as_widths(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError("input should be a list of widths, such as [2048, 128]")
    return value


Widths = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...],
    Field(min_length=1, description="hidden widths and, last, the width of the output"),
    BeforeValidator(_as_widths),
]
"""A head's setting in a recipe."""


HiddenWidths = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...],
    BeforeValidator(_as_widths),
    Field(description="hidden widths of the predictor, whose output is as wide as its input"),
]
"""A predictor's setting in a recipe."""
