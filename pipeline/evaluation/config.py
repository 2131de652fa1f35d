"""The recipe's `evaluate` section."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipeline.section import Section

_FEWEST_SAMPLES = 10


class Probe(StrEnum):
    """What is fitted on features and scored."""

    knn = "knn"
    linear = "linear"
    naive_bayes = "naive_bayes"


class Task(StrEnum):
    """What `evaluate` finds out about features with the help of targets."""

    probes = "probes"
    retrieval = "retrieval"
    clustering = "clustering"
    few_shot = "few_shot"
    per_class = "per_class"


class TargetKind(StrEnum):
    """What is to be told of a sample: its class, which of several labels it has, a number."""

    classes = "classes"
    multilabel = "multilabel"
    regression = "regression"


class FeatureKind(StrEnum):
    """What of an encoder a probe looks at; `features.encode_images` says more."""

    pooled = "pooled"
    patch_average = "patch_average"
    last_layers = "last_layers"
    projector = "projector"
    mean = "mean"
    sample = "sample"
    decoder_hidden = "decoder_hidden"


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    # Not `min_length`: pydantic would also find a list too short for the items that are wrong.
    if not names:
        raise ValueError("name at least one")
    if len(set(names)) < len(names):
        raise ValueError("each may be named once")
    return names


class OnCollapse(StrEnum):
    """What follows when features or projections collapse."""

    warn = "warn"
    tag = "tag"
    stop = "stop"


class EvaluateConfig(Section):
    """What is found out about the encoder, while it is trained and at the end."""

    train: Annotated[
        str | None, Field(description="labelled shards that probes are fitted on; null: no probes")
    ] = None
    test: Annotated[str | None, Field(description="labelled shards that they are scored on")] = None
    validation: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="share of `train` that probes are not fitted but scored on, in place of "
            "`test`, which nobody looks at; null: none",
        ),
    ] = None
    probes: Annotated[
        tuple[Probe, ...],
        Field(description="which probes"),
        AfterValidator(_each_once),
    ] = tuple(Probe)
    features: Annotated[
        Annotated[tuple[FeatureKind, ...], AfterValidator(_each_once)] | None,
        Field(
            description="what they look at; the first is compared with the floors; null: at what "
            "encoder.features says"
        ),
    ] = None
    last_layers: Annotated[
        int, Field(ge=1, description="stages or blocks that features of last_layers join")
    ] = 4
    max_samples: Annotated[
        int, Field(ge=10, description="samples used of each set, the first ones of its shuffle")
    ] = 20_000
    every: Annotated[
        float | None,
        Field(
            gt=0,
            description="epochs between snapshots that are evaluated aside while training "
            "goes on; null: one at the end",
        ),
    ] = None
    snapshot_samples: Annotated[
        int,
        Field(
            ge=0,
            description="samples of each set in a snapshot, fewer if they cost more than "
            "snapshot_share; 0: no snapshots, no label-free panel",
        ),
    ] = 1000
    snapshot_share: Annotated[
        float,
        Field(gt=0, le=1, description="of training's cost, what snapshots may add to it"),
    ] = 0.02
    on_collapse: Annotated[
        OnCollapse,
        Field(description="warn: a line; tag: and a tag of the MLflow run; stop: and end the run"),
    ] = OnCollapse.tag

    @field_validator("snapshot_samples")
    @classmethod
    def _none_or_some(cls, value: int) -> int:
        if 0 < value < _FEWEST_SAMPLES:
            raise ValueError(f"give 0, or {_FEWEST_SAMPLES} at least")
        return value

    def kinds(self, usual: str) -> tuple[FeatureKind, ...]:
        """The kinds of features that probes look at; `usual` is what the encoder gives."""
        return self.features or (FeatureKind(usual),)

    @property
    def sets(self) -> tuple[str, str] | None:
        """The labelled shards that probes are fitted and scored on, if there are."""
        scored_on = self.train if self.validation else self.test
        return (self.train, scored_on) if self.train and scored_on else None

    @model_validator(mode="after")
    def _both_sets(self) -> EvaluateConfig:
        if self.validation is not None and self.train is None:
            raise ValueError("validation is a share of train: give train too")
        if (self.train is None) != (self.test is None) and self.validation is None:
            raise ValueError("give both train and test, or neither")
        return self
