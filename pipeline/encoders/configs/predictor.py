"""The recipe's settings of a predictor of patches."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.section import Section


class PredictorConfig(Section):
    """A narrow transformer; the defaults are I-JEPA's for ViT-B."""

    width: Annotated[int, Field(ge=4, multiple_of=4, description="of its tokens")] = 384
    depth: Annotated[int, Field(ge=1, description="blocks")] = 6
    heads: Annotated[
        int | None, Field(ge=1, description="of its attention; null: as many as the encoder's")
    ] = None
