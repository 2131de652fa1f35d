"""The recipe's settings of UniGrad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.configs.heads import Widths
from pipeline.objectives.configs.base import ObjectiveConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.unigrad import UniGrad


class UniGradConfig(ObjectiveConfig):
    """UniGrad (Tao et al., Exploring the Equivalence of Siamese SSL, CVPR 2022)."""

    kind: Literal["unigrad"]
    decorrelation: Annotated[float, Field(ge=0, description="lambda, weight of z F z / 2")] = 100.0
    memory: Annotated[
        float, Field(ge=0, lt=1, description="rho, what the correlation F keeps in a step")
    ] = 0.99
    ema: Annotated[
        EMAConfig | None, Field(description="of the targets' twin; null: the encoder itself")
    ] = EMAConfig(start=0.996, end=1.0)
    projector: Widths = (2048, 2048, 2048)

    def build(self, encoder: EncoderShape, *, global_batch: int) -> UniGrad:
        """The objective for an encoder of this feature width."""
        from pipeline.objectives.unigrad import UniGrad

        return UniGrad(config=self, feature_width=encoder.width)
