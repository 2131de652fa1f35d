"""The recipe's settings of SimSiam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.encoders.configs.heads import HiddenWidths, Widths
from pipeline.objectives.configs.base import ObjectiveConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.simsiam import SimSiam


class SimSiamConfig(ObjectiveConfig):
    """SimSiam (Chen & He, Exploring Simple Siamese Representation Learning, CVPR 2021)."""

    kind: Literal["simsiam"]
    projector: Widths = (2048, 2048, 2048)
    predictor: HiddenWidths = (512,)
    constant_predictor_rate: Annotated[
        bool, Field(description="whether the predictor's learning rate stays at its peak")
    ] = True
    ema: Annotated[None, Field(description="none: targets are of the encoder itself")] = None

    @field_validator("ema", mode="before")
    @classmethod
    def _no_twin(cls, value: Any) -> None:
        if value is not None:
            raise ValueError(
                "targets of SimSiam are of the encoder itself; allowed: null, or kind: byol for "
                "targets of an EMA twin"
            )

    def build(self, encoder: EncoderShape, *, global_batch: int) -> SimSiam:
        """The objective for an encoder of this feature width."""
        from pipeline.objectives.simsiam import SimSiam

        return SimSiam(config=self, feature_width=encoder.width)
