"""The recipe's settings of hard contrastive learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.encoders.configs.heads import Widths
from pipeline.objectives.configs.base import ObjectiveConfig
from pipeline.objectives.configs.temperature import TemperatureConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.hard_contrastive import HardContrastive


class HardContrastiveConfig(ObjectiveConfig):
    """Explicit hard negatives (Wang & Liu, Understanding the Behaviour of Contrastive Loss, 2021).

    In its two-view form: negatives are those of SimCLR. With `hardest: 1` it is SimCLR.
    """

    kind: Literal["hard_contrastive"]
    temperature: Annotated[TemperatureConfig, Field(description="tau of similarities")] = (
        TemperatureConfig(start=0.3)
    )
    hardest: Annotated[
        float, Field(gt=0, le=1, description="alpha, share of an anchor's negatives that count")
    ] = 0.0819
    projector: Widths = (2048, 256)

    def build(self, encoder: EncoderShape, *, global_batch: int) -> HardContrastive:
        """The objective for an encoder of this feature width."""
        from pipeline.objectives.hard_contrastive import HardContrastive

        return HardContrastive(config=self, feature_width=encoder.width)
