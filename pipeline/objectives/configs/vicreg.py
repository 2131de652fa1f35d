"""The recipe's settings of VICReg."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.encoders.configs.heads import Widths
from pipeline.objectives.configs.base import ObjectiveConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.vicreg import VICReg


class VICRegConfig(ObjectiveConfig):
    """VICReg (Bardes et al., Variance-Invariance-Covariance Regularization, ICLR 2022).

    The hinges of the two views are averaged, as in the paper and the official code; solo-learn adds
    them up, so that its weight of 25 is 50 here.
    """

    kind: Literal["vicreg"]
    invariance: Annotated[float, Field(ge=0, description="weight of the views' distance")] = 25.0
    variance: Annotated[
        float, Field(ge=0, description="weight of the hinge on deviations, the views' mean")
    ] = 25.0
    covariance: Annotated[
        float, Field(ge=0, description="weight of squared covariances, the views' sum")
    ] = 1.0
    projector: Widths = (2048, 2048, 2048)

    def build(self, encoder: EncoderShape, *, global_batch: int) -> VICReg:
        """The objective for an encoder of this feature width."""
        from pipeline.objectives.vicreg import VICReg

        return VICReg(config=self, feature_width=encoder.width)
