"""The recipe's `data` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.data.storage import absolute
from pipeline.section import Section, or_short

DEFAULT_CACHE_BYTES = 8 << 30
DEFAULT_READ_AHEAD_BYTES = 4 << 30


class SourceConfig(Section):
    """One of several sets of shards that feed a run."""

    path: Annotated[str, Field(description="folder or URI of a manifest")]
    weight: Annotated[
        float | None,
        Field(gt=0, description="share of every batch, beside the others' weights"),
    ] = None


class DataConfig(Section):
    """Which shards are read, and how."""

    shards: Annotated[
        tuple[SourceConfig, ...],
        Field(
            min_length=1,
            description="folder or URI that `jobs shard` wrote; or a list of {path, weight}, "
            "without weights in proportion to their samples",
            json_schema_extra=or_short({"type": "string"}),
        ),
        BeforeValidator(lambda given: [{"path": given}] if isinstance(given, str) else given),
    ]
    exclude: Annotated[
        str | None,
        Field(
            description="file of samples to leave out: Parquet with a column sample_id, or text "
            "with one id a line"
        ),
    ] = None
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
        Field(
            ge=0.01,
            description="logical CPUs that read for each worker; 0.5: two share one",
            json_schema_extra={"minimum": 0.01},  # pydantic does not say it of a union
        ),
    ] = 1
    readers: Annotated[
        Literal["beside", "anywhere"],
        Field(
            description="where Ray's read tasks run: beside, on the worker's node, on CPUs that it "
            "asks for; anywhere, also on other nodes' CPUs, such as nodes without GPUs"
        ),
    ] = "beside"
    read_ahead_bytes: Annotated[
        int,
        Field(ge=1 << 20, description="most bytes of views that are read ahead for each worker"),
    ] = DEFAULT_READ_AHEAD_BYTES
    cache_bytes: Annotated[
        int, Field(ge=1 << 20, description="disk of a node for copies of remote shards")
    ] = DEFAULT_CACHE_BYTES

    @property
    def manifests(self) -> tuple[str, ...]:
        """Locations of the manifests."""
        return tuple(source.path for source in self.shards)

    def with_absolute_paths(self) -> DataConfig:
        """The section with its paths spelt out, since workers run in other directories."""
        spelt = (s.model_copy(update={"path": absolute(s.path)}) for s in self.shards)
        exclude = None if self.exclude is None else absolute(self.exclude)
        return self.model_copy(update={"shards": tuple(spelt), "exclude": exclude})

    @model_validator(mode="after")
    def _weighted_alike(self) -> DataConfig:
        weights = [source.weight for source in self.shards]
        if None in weights and any(weight is not None for weight in weights):
            raise ValueError("shards: give every path a weight, or none")
        if len(weights) > self.streams:
            raise ValueError(
                f"shards: {len(weights)} sets need as many streams, not {self.streams}"
            )
        return self
