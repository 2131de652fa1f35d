"""The recipe's settings of several objectives at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from pipeline.encoders.configs.autoencoder import AutoencoderConfig
from pipeline.encoders.configs.ema import EMAConfig
from pipeline.errors import Problem
from pipeline.objectives.configs.base import ObjectiveConfig
from pipeline.objectives.configs.ijepa import PatchPredictionConfig
from pipeline.objectives.configs.single import SingleObjectiveConfig
from pipeline.section import Section

_T = TypeVar("_T")

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.composite import Composite


class PartConfig(Section):
    """One of the objectives, with its weight."""

    weight: Annotated[float, Field(gt=0, description="of all its losses and terms")] = 1.0
    objective: Annotated[
        SingleObjectiveConfig,
        Field(description="one that is not composite", json_schema_extra={"required": ["kind"]}),
    ]


class CompositeConfig(ObjectiveConfig):
    """A weighted sum of objectives; each view is encoded once, and each objective has its heads."""

    kind: Literal["composite"]
    parts: Annotated[
        tuple[PartConfig, ...], Field(min_length=2, description="the objectives, with weights")
    ]

    @model_validator(mode="after")
    def _one_twin(self) -> CompositeConfig:
        twins = {part.objective.twin for part in self.parts} - {None}
        if len(twins) > 1:
            raise ValueError(
                "parts have different ema settings, but there is one twin of the encoder; give "
                "them the same"
            )
        return self

    @property
    def twin(self) -> EMAConfig | None:
        """The parts' one."""
        return next((part.objective.twin for part in self.parts if part.objective.twin), None)

    @property
    def sole_autoencoder(self) -> AutoencoderConfig | None:
        """That of the one part that has one."""
        return sole(part.objective.sole_autoencoder for part in self.parts)

    def build(self, encoder: EncoderShape, *, global_batch: int) -> Composite:
        """The objectives for an encoder of this feature width."""
        from pipeline.objectives.composite import Composite

        return Composite(
            names=self.names,
            weights=[part.weight for part in self.parts],
            objectives=[
                part.objective.build(encoder, global_batch=global_batch) for part in self.parts
            ],
        )

    @property
    def names(self) -> list[str]:
        """Of the parts in metrics: their kinds, numbered where a kind comes twice."""
        kinds = [part.objective.kind for part in self.parts]
        often = Counter(kinds)
        return [
            kind if often[kind] == 1 else f"{kind}{number}" for number, kind in enumerate(kinds)
        ]

    def problems(self, *, global_batch: int) -> list[Problem]:
        """Those of the parts, and parts that see other views than the rest."""
        masked = [
            Problem(
                f"parts.{number}.objective.kind",
                f"{part.objective.kind} sees masked views, which no other part does; allowed: as "
                "the run's only objective",
            )
            for number, part in enumerate(self.parts)
            if isinstance(part.objective, PatchPredictionConfig)
        ]
        return masked + [
            Problem(f"parts.{number}.objective.{where}", message)
            for number, part in enumerate(self.parts)
            for where, message in part.objective.problems(global_batch=global_batch)
        ]


def sole(found: Iterable[_T | None]) -> _T | None:
    """The one that is there, if exactly one is."""
    there = [one for one in found if one is not None]
    return there[0] if len(there) == 1 else None
