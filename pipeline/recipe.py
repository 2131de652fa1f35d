"""The recipe, typed: it composes the configs that stand beside components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Union, get_args

import yaml
from pydantic import (
    BaseModel,
    Field,
    create_model,
    field_validator,
)

from pipeline.data.config import DataConfig
from pipeline.data.storage import absolute
from pipeline.encoders.configs.encoder import EncoderConfig
from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.errors import Problem, UserError
from pipeline.evaluation.config import EvaluateConfig
from pipeline.extensions import load_extensions
from pipeline.learning.config import TrainConfig
from pipeline.objectives.configs.composite import CompositeConfig, PartConfig
from pipeline.objectives.configs.simclr import SimCLRConfig
from pipeline.objectives.configs.single import SingleObjectiveConfig
from pipeline.pairs.config import DBPMConfig, PairsConfig, UOTAConfig
from pipeline.registry.config import TrackingConfig
from pipeline.section import Section, kind_of, or_short
from pipeline.sweeps.spaces.config import SweepConfig
from pipeline.views.parameters import ImageViews


class Recipe(Section):
    """Everything that makes a run; the resolved recipe is enough to repeat it."""

    name: Annotated[
        str | None,
        Field(
            pattern=r"^\w[\w.-]*$",
            description="name of the run; null: derived from the recipe and the data",
        ),
    ] = None
    seed: Annotated[
        int, Field(ge=0, lt=2**31, description="of all that is drawn; another one: another run")
    ] = 0
    extensions: Annotated[
        tuple[str, ...],
        Field(description="modules with objectives, miners and arbiters of your own"),
    ] = ()
    data: DataConfig
    views: ImageViews = ImageViews()
    encoder: EncoderConfig
    objective: Annotated[
        SingleObjectiveConfig | CompositeConfig,
        Field(discriminator="kind", description="what is learnt; without a kind: simclr"),
    ] = SimCLRConfig()
    pairs: Annotated[
        PairsConfig,
        Field(
            description="what weighs pairs; null: every pair weighs 1",
            json_schema_extra=or_short({"type": "null"}),
        ),
    ] = PairsConfig()
    train: TrainConfig
    evaluate: Annotated[
        EvaluateConfig,
        Field(
            description="what is found out about the encoder; null: no probes, no snapshots",
            json_schema_extra=or_short({"type": "null"}),
        ),
    ] = EvaluateConfig()
    tracking: TrackingConfig = TrackingConfig()
    sweep: Annotated[
        SweepConfig | None,
        Field(description="what `jobs sweep` searches; of no effect elsewhere. null: nothing"),
    ] = None

    @field_validator("evaluate", mode="before")
    @classmethod
    def _nothing_if_null(cls, value: Any) -> Any:
        return {"snapshot_samples": 0} if value is None else value

    @field_validator("pairs", mode="before")
    @classmethod
    def _all_alike_if_null(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("objective", mode="before")
    @classmethod
    def _simclr_unless_told(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "kind" not in value:
            return {"kind": "simclr", **value}
        return value

    @property
    def features(self) -> FeaturesConfig:
        """What the encoder gives: `encoder.features`, or what is usual for the objective."""
        usual = "mean" if self.objective.sole_autoencoder else "pooled"
        return self.encoder.features or FeaturesConfig.model_validate(usual)

    def with_absolute_paths(self) -> Recipe:
        """The recipe with its folders spelt out, since workers run in other directories."""
        init = self.encoder.init
        if init is not None and not init.startswith("models:/"):
            init = absolute(init)
        trace = self.train.trace
        evaluate = self.evaluate
        sets = {
            name: absolute(folder)
            for name, folder in (("train", evaluate.train), ("test", evaluate.test))
            if folder is not None
        }
        evaluate = evaluate.model_copy(update=sets)
        return self.model_copy(
            update={
                "data": self.data.with_absolute_paths(),
                "encoder": self.encoder.model_copy(update={"init": init}),
                "evaluate": evaluate,
                "train": self.train.model_copy(
                    update={"trace": absolute(trace) if trace is not None else None}
                ),
                "tracking": self.tracking.model_copy(
                    update={"storage": absolute(self.tracking.storage)}
                ),
            }
        )

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain values, every default written out."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """The resolved recipe as YAML."""
        return yaml.safe_dump(self.resolved(), sort_keys=False)


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values, such as `resolved` gives.

    Raises:
        UserError: an extension cannot be imported.
        ValidationError: a setting is wrong.
    """
    return recipe_class(tuple(values.get("extensions") or ())).model_validate(values)


@lru_cache
def recipe_class(extensions: tuple[str, ...]) -> type[Recipe]:
    """`Recipe`, whose kinds of objectives, miners and arbiters are also those of extensions.

    Raises:
        UserError: an extension cannot be imported, or has a kind that is taken.
    """
    if not extensions:
        return Recipe
    found = load_extensions(extensions)
    single = _kinds("objective.kind", get_args(SingleObjectiveConfig)[0], found.objectives)
    part: Any = create_model("PartConfig", __base__=PartConfig, objective=(single, ...))
    parts: Any = Annotated[tuple[part, ...], Field(min_length=2)]
    composite = create_model("CompositeConfig", __base__=CompositeConfig, parts=(parts, ...))
    miner = _kinds("pairs.miner.kind", DBPMConfig, [*found.miners, None])
    arbiter = _kinds("pairs.arbiter.kind", UOTAConfig, [*found.arbiters, None])
    pairs = create_model(
        "PairsConfig",
        __base__=PairsConfig,
        miner=(miner, None),
        arbiter=(arbiter, None),
    )
    objective = _kinds("objective.kind", get_args(single)[0], [composite])
    return create_model(
        "Recipe",
        __base__=Recipe,
        objective=(objective, SimCLRConfig()),
        pairs=(pairs, pairs()),
    )


def _kinds(where: str, ours: Any, more: Sequence[type[BaseModel] | None]) -> Any:
    """The type of a section that is of one of our kinds or of some others; None: or null."""
    kinds = [kind_of(config) for config in (*(get_args(ours) or (ours,)), *more) if config]
    twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if twice:
        raise UserError(
            Problem("extensions", f"{where} {', '.join(twice)}: more than one class has it")
        )
    return Annotated[Union[(ours, *more)], Field(discriminator="kind")]
