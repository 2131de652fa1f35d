"""The recipe's section on the weighting of pairs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipeline.objectives.base import Capabilities
from pipeline.pairs.dbpm import DBPM, DBPMConfig
from pipeline.pairs.uota import UOTA, UOTAConfig
from pipeline.pairs.weighting import PairWeighting


class PairsConfig(BaseModel):
    """What weighs pairs; without it every pair weighs 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arbiter: Annotated[
        UOTAConfig | None,
        Field(description="weighs views by where they lie among the batch's; null: none"),
    ] = None

    miner: Annotated[
        DBPMConfig | None,
        Field(description="weighs samples by their losses in past epochs; null: none"),
    ] = None
    most: Annotated[float, Field(gt=0, description="bound of a weight, the product of both")] = 10.0
    normalize: Annotated[
        bool, Field(description="whether weights are divided by their mean over the global batch")
    ] = False

    def build(self, objective: Capabilities) -> PairWeighting:
        """The weighting for an objective that allows it."""
        per_view = objective.arbitration == "per_view"
        return PairWeighting(
            miner=DBPM(config=self.miner) if self.miner else None,
            arbiter=UOTA(config=self.arbiter, per_view=per_view) if self.arbiter else None,
            most=self.most,
            normalize=self.normalize,
        )
