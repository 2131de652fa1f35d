"""The recipe's settings of LeJEPA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.encoders.configs.heads import Widths
from pipeline.objectives.configs.base import ObjectiveConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.lejepa import LeJEPA


class LeJEPAConfig(ObjectiveConfig):
    """LeJEPA (Balestriero & LeCun, Provable and Scalable SSL Without the Heuristics, 2025).

    SIGReg grows with the global batch for a given spread of the projections, as in the paper: a
    batch that is k times as large wants about 1 / k of the weight.
    """

    kind: Literal["lejepa"]
    sigreg: Annotated[
        float,
        Field(gt=0, lt=1, description="lambda: weight of SIGReg; views' agreement has 1 - it"),
    ] = 0.05
    slices: Annotated[
        int, Field(ge=1, description="directions in which SIGReg looks, new ones in each step")
    ] = 1024
    projector: Widths = (2048, 2048, 64)

    def build(self, encoder: EncoderShape, *, global_batch: int) -> LeJEPA:
        """The objective for an encoder of this feature width."""
        from pipeline.objectives.lejepa import LeJEPA

        return LeJEPA(config=self, feature_width=encoder.width)
