"""The recipe's settings of Barlow Twins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.encoders.configs.heads import Widths
from pipeline.objectives.configs.base import ObjectiveConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.barlow import Barlow


class BarlowConfig(ObjectiveConfig):
    """Barlow Twins (Zbontar et al., Self-Supervised Learning via Redundancy Reduction, ICML 2021).

    No pair owns a part of this loss, so that pairs cannot be weighted.
    """

    kind: Literal["barlow"]
    redundancy: Annotated[float, Field(ge=0, description="lambda, weight of other dimensions")] = (
        0.0051
    )
    scale: Annotated[float, Field(gt=0, description="factor of the whole loss")] = 1.0
    projector: Widths = (8192, 8192, 8192)

    def build(self, encoder: EncoderShape, *, global_batch: int) -> Barlow:
        """The objective for an encoder of this feature width."""
        from pipeline.objectives.barlow import Barlow

        return Barlow(config=self, feature_width=encoder.width)
