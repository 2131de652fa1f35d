"""The recipe's section on the weighting of pairs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.objectives.base import Capabilities
from pipeline.pairs.dbpm import DBPMConfig
from pipeline.pairs.uota import UOTAConfig
from pipeline.pairs.weighting import PairWeighting
from pipeline.section import Section


class PairsConfig(Section):
    """What weighs pairs; without it every pair weighs 1."""

    miner: Annotated[
        DBPMConfig | None,
        Field(description="weighs samples by their losses in past epochs; null: none"),
    ] = None
    arbiter: Annotated[
        UOTAConfig | None,
        Field(description="weighs views by where they lie among the batch's; null: none"),
    ] = None
    most: Annotated[float, Field(gt=0, description="bound of a weight, the product of both")] = 10.0
    normalize: Annotated[
        bool, Field(description="whether weights are divided by their mean over the global batch")
    ] = False

    def build(self, objective: Capabilities) -> PairWeighting:
        """The weighting for an objective that allows it."""
        per_view = objective.arbitration == "per_view"
        return PairWeighting(
            miner=self.miner.build() if self.miner else None,
            arbiter=self.arbiter.build(per_view=per_view) if self.arbiter else None,
            most=self.most,
            normalize=self.normalize,
        )
