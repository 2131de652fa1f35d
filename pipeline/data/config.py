"""The recipe's `data` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class DataConfig(BaseModel):
    """Which shards are read, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shards: Annotated[str, Field(description="folder that `jobs shard` wrote")]
    streams: Annotated[
        int, Field(ge=1, description="canonical streams C; divides the batch, workers divide it")
    ] = 8
    shuffle_window: Annotated[int, Field(ge=1, description="samples shuffled together")] = 4096
    max_bad_fraction: Annotated[
        float, Field(ge=0, le=1, description="share of undecodable samples that stops the run")
    ] = 0.01
    ingest: Annotated[
        Literal["ray", "inline"], Field(description="read by Ray Data, or by threads in the worker")
    ] = "ray"
    ingest_cpus: Annotated[
        int | float,
        Field(ge=0.01, description="logical CPUs that read for each worker; 0.5: two share one"),
    ] = 1
