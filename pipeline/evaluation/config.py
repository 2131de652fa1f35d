"""The recipe's `evaluate` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class EvaluateConfig(BaseModel):
    """Probes of the finished encoder on labelled shards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Annotated[str, Field(description="labelled shards that probes are fitted on")]
    test: Annotated[str, Field(description="labelled shards that they are scored on")]
    probes: Annotated[
        tuple[Literal["knn", "linear"], ...], Field(min_length=1, description="which probes")
    ] = ("knn", "linear")
    max_samples: Annotated[
        int, Field(ge=10, description="samples used of each set, the first ones of its shuffle")
    ] = 20_000
