"""The recipe's settings of SimCLR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.encoders.configs.heads import Widths
from pipeline.objectives.configs.base import ObjectiveConfig
from pipeline.objectives.configs.temperature import TemperatureConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.simclr import SimCLR


class SimCLRConfig(ObjectiveConfig):
    """SimCLR (Chen et al., A Simple Framework for Contrastive Learning, ICML 2020)."""

    kind: Literal["simclr"] = "simclr"
    temperature: Annotated[TemperatureConfig, Field(description="tau of NT-Xent")] = (
        TemperatureConfig(start=0.2)
    )
    projector: Widths = (2048, 256)

    def build(self, encoder: EncoderShape, *, global_batch: int) -> SimCLR:
        """The objective for an encoder of this feature width."""
        from pipeline.objectives.simclr import SimCLR

        return SimCLR(config=self, feature_width=encoder.width)
