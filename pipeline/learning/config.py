"""The recipe's `train` section."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from pipeline.section import Section, or_short


class OptimizerConfig(Section):
    """How weights are updated; biases and normalisation weights are never decayed."""

    kind: Annotated[Literal["adamw", "sgd", "lars", "lamb"], Field(description="update rule")] = (
        "adamw"
    )
    lr: Annotated[float, Field(gt=0, description="peak learning rate, as it is")] = 1e-3
    lr_start: Annotated[
        float, Field(ge=0, description="rate from which the warm-up rises; no step has 0")
    ] = 0.0
    lr_end: Annotated[float, Field(ge=0, description="rate to which the cosine falls")] = 0.0
    weight_decay: Annotated[
        float, Field(ge=0, description="decay of weights, of the first step")
    ] = 1e-4
    weight_decay_end: Annotated[
        float | None, Field(ge=0, description="decay half a cosine later; null: as at the start")
    ] = None
    momentum: Annotated[float, Field(ge=0, lt=1, description="of sgd and lars")] = 0.9
    clip_norm: Annotated[
        float | None, Field(gt=0, description="bound of the gradient's norm; null: none")
    ] = None
    warmup: Annotated[
        float, Field(ge=0, lt=1, description="share of the steps with a rising rate; then cosine")
    ] = 0.1

    @model_validator(mode="after")
    def _peak(self) -> OptimizerConfig:
        if max(self.lr_start, self.lr_end) > self.lr:
            raise ValueError(
                f"lr must be the peak: at least lr_start and lr_end, got lr = {self.lr}, "
                f"lr_start = {self.lr_start}, lr_end = {self.lr_end}"
            )
        return self


class BestConfig(Section):
    """Which checkpoint is the best."""

    metric: Annotated[str, Field(description="one of the journal's, such as loss")]
    mode: Annotated[Literal["min", "max"], Field(description="which value of it is best")]


class CheckpointConfig(Section):
    """When the run can be taken up again: at the end of each epoch, unless told otherwise."""

    every_steps: Annotated[int | None, Field(ge=1, description="steps between checkpoints")] = None
    every_minutes: Annotated[
        float | None,
        Field(gt=0, description="minutes between checkpoints, looked at every log_every steps"),
    ] = None
    keep: Annotated[int, Field(ge=1, description="newest checkpoints kept")] = 2
    best: Annotated[
        BestConfig | None,
        Field(description="keep the best by this too, as last logged; null: only the newest"),
    ] = None


def _only(length: str) -> JsonDict:
    """JSON schema of a section with this length and without the other, as `_one_length` wants."""
    no: JsonDict = {name: {"type": "null"} for name in ("epochs", "steps")}
    return {"required": [length], "properties": {**no, length: {"type": "integer"}}}


class TrainConfig(Section):
    """How long, how large, on how many workers."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_only("epochs"), _only("steps")]})

    epochs: Annotated[int | None, Field(ge=1, description="passes over the data")] = None
    steps: Annotated[int | None, Field(ge=1, description="global batches, in place of epochs")] = (
        None
    )
    global_batch: Annotated[int, Field(ge=2, description="samples in a step, all workers")] = 256
    micro_batch: Annotated[
        int | None,
        Field(
            ge=1,
            description="samples of a worker that the encoder sees at once; heads and losses see "
            "the whole batch (gradient caching: at least a third more computing, a bound on "
            "memory); batch normalisation in the encoder sees no more than these. null: all",
        ),
    ] = None
    workers: Annotated[
        tuple[int, int],
        Field(
            description="training processes; [least, most]: as many as there is room for",
            json_schema_extra=or_short({"type": "integer", "minimum": 1}, default=1),
        ),
    ] = (1, 1)
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Field(description="auto: a GPU for each worker if there are"),
    ] = "auto"
    precision: Annotated[
        Literal["fp32", "bf16"], Field(description="bf16: autocast; similarities stay in fp32")
    ] = "fp32"
    batch_norm: Annotated[
        Literal["sync", "local"], Field(description="statistics of the global batch, or a worker's")
    ] = "sync"
    optimizer: OptimizerConfig = OptimizerConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log_every: Annotated[int, Field(ge=1, description="steps between journal lines")] = 10
    max_failures: Annotated[
        int, Field(ge=-1, description="worker failures survived by restarting; -1: any number")
    ] = 3
    wait_minutes: Annotated[
        float,
        Field(
            ge=0, description="how long a cluster's CPUs and GPUs are waited for, before giving up"
        ),
    ] = 30.0
    trace: Annotated[
        str | None,
        Field(description="Parquet file that gets what every step was really served; null: none"),
    ] = None

    @property
    def least_workers(self) -> int:
        """Processes without which there is no training."""
        return self.workers[0]

    @property
    def most_workers(self) -> int:
        """Processes that are started where there is room."""
        return self.workers[1]

    @field_validator("workers", mode="before")
    @classmethod
    def _as_range(cls, value: Any) -> list[int]:
        ends = list(value) if isinstance(value, list | tuple) else [value, value]
        whole = len(ends) == 2 and all(type(end) is int for end in ends)
        if not whole or not 1 <= ends[0] <= ends[1]:
            raise ValueError("give a whole number of at least 1, or a range of them: [least, most]")
        return ends

    @field_serializer("workers")
    def _as_given(self, value: tuple[int, int]) -> int | list[int]:
        return value[0] if value[0] == value[1] else list(value)

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self
