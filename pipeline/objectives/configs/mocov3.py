"""The recipe's settings of MoCo v3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.configs.heads import HiddenWidths, Widths
from pipeline.objectives.configs.base import ObjectiveConfig
from pipeline.objectives.configs.temperature import TemperatureConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.mocov3 import MoCoV3


class MoCoV3Config(ObjectiveConfig):
    """MoCo v3 (Chen et al., An Empirical Study of Training Self-Supervised ViTs, ICCV 2021).

    The heads are the official ones for a ViT; for a ResNet `projector: [4096, 256]` and
    `predictor_norm: false`. The official loss is the sum of both directions, ours their mean.
    """

    kind: Literal["mocov3"]
    temperature: Annotated[TemperatureConfig, Field(description="tau of similarities")] = (
        TemperatureConfig(start=0.2)
    )
    ema: Annotated[EMAConfig, Field(description="of the keys' twin")] = EMAConfig(
        start=0.99, end=1.0
    )
    projector: Widths = (4096, 4096, 256)
    predictor: HiddenWidths = (4096,)
    predictor_norm: Annotated[bool, Field(description="batch norm of the predictor's output")] = (
        True
    )

    def build(self, encoder: EncoderShape, *, global_batch: int) -> MoCoV3:
        """The objective for an encoder of this feature width."""
        from pipeline.objectives.mocov3 import MoCoV3

        return MoCoV3(config=self, feature_width=encoder.width)
