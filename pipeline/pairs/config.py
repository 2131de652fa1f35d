"""The recipe's section on the weighting of pairs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipeline.objectives.base import Capabilities
from pipeline.pairs.uota import UOTA, UOTAConfig
from pipeline.pairs.weighting import PairWeighting


class PairsConfig(BaseModel):
    """What weighs pairs; without it every pair weighs 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arbiter: Annotated[
        UOTAConfig | None,
        Field(description="weighs views by where they lie among the batch's; null: none"),
    ] = None

    def build(self, objective: Capabilities) -> PairWeighting:
        """The weighting for an objective that allows it."""
        if self.arbiter is None:
            return PairWeighting()
        per_view = objective.arbitration == "per_view"
        return PairWeighting(arbiter=UOTA(config=self.arbiter, per_view=per_view))
