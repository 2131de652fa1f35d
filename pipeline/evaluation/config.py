"""The recipe's `evaluate` section."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Probe(StrEnum):
    """What is fitted on features and scored."""

    knn = "knn"
    linear = "linear"
    naive_bayes = "naive_bayes"


class FeatureKind(StrEnum):
    """What of an encoder a probe looks at; `features.encode_images` says more."""

    pooled = "pooled"
    patch_average = "patch_average"
    last_layers = "last_layers"
    projector = "projector"


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    # Not `min_length`: pydantic would also find a list too short for the items that are wrong.
    if not names:
        raise ValueError("name at least one")
    if len(set(names)) < len(names):
        raise ValueError("each may be named once")
    return names


class EvaluateConfig(BaseModel):
    """Probes of the finished encoder on labelled shards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Annotated[str, Field(description="labelled shards that probes are fitted on")]
    test: Annotated[str, Field(description="labelled shards that they are scored on")]
    probes: Annotated[
        tuple[Probe, ...],
        Field(description="which probes"),
        AfterValidator(_each_once),
    ] = tuple(Probe)
    features: Annotated[
        tuple[FeatureKind, ...],
        Field(description="what they look at; the first is compared with the floors"),
        AfterValidator(_each_once),
    ] = (FeatureKind.pooled,)
    last_layers: Annotated[
        int, Field(ge=1, description="stages or blocks that features of last_layers join")
    ] = 4
    max_samples: Annotated[
        int, Field(ge=10, description="samples used of each set, the first ones of its shuffle")
    ] = 20_000
