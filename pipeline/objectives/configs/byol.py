"""The recipe's settings of BYOL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.configs.heads import HiddenWidths, Widths
from pipeline.objectives.configs.base import ObjectiveConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.byol import BYOL


class BYOLConfig(ObjectiveConfig):
    """BYOL (Grill et al., Bootstrap Your Own Latent, NeurIPS 2020)."""

    kind: Literal["byol"]
    ema: Annotated[EMAConfig, Field(description="of the targets' twin")] = EMAConfig(
        start=0.99, end=1.0
    )
    projector: Widths = (4096, 256)
    predictor: HiddenWidths = (4096,)

    def build(self, encoder: EncoderShape, *, global_batch: int) -> BYOL:
        """The objective for an encoder of this feature width."""
        from pipeline.objectives.byol import BYOL

        return BYOL(config=self, feature_width=encoder.width)
