"""The recipe's settings of I-JEPA, and what its relatives share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.configs.predictor import PredictorConfig
from pipeline.objectives.configs.base import ObjectiveConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.ijepa import IJEPA


class PatchPredictionConfig(ObjectiveConfig):
    """What I-JEPA and its relatives have in common."""

    ema: Annotated[EMAConfig, Field(description="of the targets' twin")] = EMAConfig(
        start=0.996, end=1.0, schedule="linear"
    )
    predictor: Annotated[
        PredictorConfig, Field(description="what predicts masked patches from those seen")
    ] = PredictorConfig()


class IJEPAConfig(PatchPredictionConfig):
    """I-JEPA (Assran et al., Self-Supervised Learning from Images with a JEPA, CVPR 2023)."""

    kind: Literal["ijepa"]

    def build(self, encoder: EncoderShape, *, global_batch: int) -> IJEPA:
        """The objective for an encoder with patches.

        Raises:
            UserError: it has none, or the predictor does not go with it.
        """
        from pipeline.objectives.ijepa import IJEPA

        return IJEPA(config=self, encoder=encoder)
