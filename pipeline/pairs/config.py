"""The recipe's section on the weighting of pairs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

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
    most: Annotated[
        float, Field(gt=0, description="bound of the product of both, before it is normalised")
    ] = 10.0
    normalize: Annotated[
        bool, Field(description="whether weights are divided by their mean over the global batch")
    ] = False

    @field_validator("miner", "arbiter", mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    def build(self, objective: Capabilities) -> PairWeighting:
        """The weighting for an objective that allows it."""
        per_view = objective.arbitration == "per_view"
        return PairWeighting(
            miner=self.miner.build() if self.miner else None,
            arbiter=self.arbiter.build(per_view=per_view) if self.arbiter else None,
            most=self.most,
            normalize=self.normalize,
        )
