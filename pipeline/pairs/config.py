"""The recipe's `pairs` section, and those of miners and arbiters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.section import Section, kind_alone, or_short

if TYPE_CHECKING:
    from pipeline.objectives.base import Capabilities
    from pipeline.pairs.base import Arbiter, Miner
    from pipeline.pairs.dbpm import DBPM
    from pipeline.pairs.uota import UOTA
    from pipeline.pairs.weighting import PairWeighting


class MinerConfig(Section):
    """A miner's section of the recipe; subclasses add `kind` and settings."""

    kind: str
    warm_up: Annotated[
        int, Field(ge=1, description="epochs in which losses are only remembered")
    ] = 50

    def build(self) -> Miner:
        """The miner."""
        raise NotImplementedError


class ArbiterConfig(Section):
    """An arbiter's section of the recipe; subclasses add `kind` and settings."""

    kind: str
    start_epoch: Annotated[
        int, Field(ge=0, description="first epoch, counted from 0, in which pairs are weighed")
    ] = 100

    def build(self, *, per_view: bool) -> Arbiter:
        """The arbiter.

        Args:
            per_view: whether views of a sample may have different weights.
        """
        raise NotImplementedError


class DBPMConfig(MinerConfig):
    """DBPM (Lan et al., Towards Enhancing Time Series Contrastive Learning, ICLR 2024)."""

    kind: Literal["dbpm"]
    noisy: Annotated[
        float,
        Field(gt=0, description="beta_np: deviations below the mean from which a pair is noisy"),
    ] = 2.0
    faulty: Annotated[
        float,
        Field(gt=0, description="beta_fp: deviations above the mean from which one is faulty"),
    ] = 3.0
    history: Annotated[
        Literal["mean", "recency"],
        Field(description="of past losses: their mean; recency: as the official code has it"),
    ] = "mean"
    weight: Annotated[
        Literal["gaussian", "pdf", "drop"],
        Field(description="of a bad pair: exp(-d^2 / 2); pdf: its density; drop: 0"),
    ] = "gaussian"

    def build(self) -> DBPM:
        """The miner."""
        from pipeline.pairs.dbpm import DBPM

        return DBPM(config=self)


class UOTAConfig(ArbiterConfig):
    """UOTA (Wang et al., Automated Unsupervised Outlier Arbitration, NeurIPS 2021).

    The paper starts it half-way, in the 101st of 200 epochs, and doubles the learning rate there;
    the rate is left alone here.
    """

    kind: Literal["uota"]
    temperature: Annotated[
        float,
        Field(
            gt=0,
            description="tau over the projections' dimensions; the official code has 350 for 128. "
            "The lower, the further weights spread",
        ),
    ] = 350 / 128
    shrinkage: Annotated[
        float,
        Field(
            ge=0,
            description="added to the variance in every direction, in parts of their mean; 0: as "
            "in the official code",
        ),
    ] = 1e-4

    def build(self, *, per_view: bool) -> UOTA:
        """The arbiter."""
        from pipeline.pairs.uota import UOTA

        return UOTA(config=self, per_view=per_view)


class PairsConfig(Section):
    """What weighs pairs; without it every pair weighs 1."""

    miner: Annotated[
        DBPMConfig | None,
        Field(
            description="weighs samples by their losses in past epochs; null: none",
            json_schema_extra=or_short(kind_alone(DBPMConfig)),
        ),
    ] = None
    arbiter: Annotated[
        UOTAConfig | None,
        Field(
            description="weighs views by where they lie among the batch's; null: none",
            json_schema_extra=or_short(kind_alone(UOTAConfig)),
        ),
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
        from pipeline.pairs.weighting import PairWeighting

        per_view = objective.arbitration == "per_view"
        return PairWeighting(
            miner=self.miner.build() if self.miner else None,
            arbiter=self.arbiter.build(per_view=per_view) if self.arbiter else None,
            most=self.most,
            normalize=self.normalize,
        )
