"""The recipe's `sweep` section, which a file of its own may hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from pipeline.section import Section, kind_alone, or_short
from pipeline.sweeps.spaces.dimension import DimensionConfig
from pipeline.sweeps.spaces.scores import Score


class ASHAConfig(Section):
    """Asynchronous successive halving: at each rung only the better part of the trials goes on.

    Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020.
    """

    kind: Literal["asha"]
    reduction: Annotated[
        float, Field(gt=1, description="eta: one in so many goes on, and rungs are so far apart")
    ] = 3.0
    grace: Annotated[
        int, Field(ge=1, description="looks at a trial before it can be stopped: the first rung")
    ] = 1


class PBTConfig(Section):
    """Population based training: the worst trials go on from the best, with other settings.

    While they train, from checkpoints, with settings changed a little (Jaderberg et al., Population
    Based Training of Neural Networks, 2017).
    """

    kind: Literal["pbt"]
    interval: Annotated[int, Field(ge=1, description="looks between exploits")] = 1
    quantile: Annotated[
        float, Field(gt=0, le=0.5, description="share that is worst, and share that is best")
    ] = 0.25
    resample: Annotated[
        float, Field(ge=0, le=1, description="probability of a new value instead of 0.8 or 1.2 x")
    ] = 0.25
    synchronous: Annotated[
        bool,
        Field(
            description="whether members wait for each other at every exploit and are compared at "
            "the same step, which starts all of them again; false: with what the others had last"
        ),
    ] = False


def _once(scores: tuple[Score, ...]) -> tuple[Score, ...]:
    if not 1 <= len(scores) <= 2 or len(set(scores)) < len(scores):
        raise ValueError("name one score, or two different ones")
    return scores


class SweepConfig(Section):
    """Which settings are searched, how, by what they are compared, and how long."""

    space: Annotated[
        dict[str, DimensionConfig],
        Field(min_length=1, description="values by dotted path of a setting of the recipe"),
    ]
    optimize: Annotated[
        Annotated[tuple[Score, ...], AfterValidator(_once)] | None,
        Field(
            description="score of a trial; two: what is best in both ways (a Pareto table), pruned "
            "and won by the first; null: the linear probe, or the first there is",
            json_schema_extra=or_short({"enum": [str(score) for score in Score]}),
        ),
    ] = None
    searcher: Annotated[
        Literal["random", "grid", "optuna"],
        Field(description="grid: every combination; optuna: TPE, which learns from trials"),
    ] = "optuna"
    scheduler: Annotated[
        Annotated[ASHAConfig | PBTConfig, Field(discriminator="kind")] | None,
        Field(
            description="asha stops bad trials early, pbt changes them while they train; null: "
            "every trial is trained to its end",
            json_schema_extra=or_short(kind_alone(ASHAConfig, PBTConfig)),
        ),
    ] = ASHAConfig(kind="asha")
    trials: Annotated[int, Field(ge=1, description="configurations; of a grid at most")] = 20
    hours: Annotated[
        float | None, Field(gt=0, description="of search, after which trials halt; null: no bound")
    ] = None
    concurrent: Annotated[
        int | None, Field(ge=1, description="trials at a time; null: as many as there is room for")
    ] = None
    seeds: Annotated[
        int, Field(ge=1, description="runs of a configuration, at the same time, of other seeds")
    ] = 1
    looks: Annotated[
        int,
        Field(ge=1, description="snapshots of a trial, unless the recipe has evaluate.every"),
    ] = 9
    validation: Annotated[
        float,
        Field(gt=0, lt=1, description="share of evaluate.train that scores trials; test waits"),
    ] = 0.2
    max_failed: Annotated[
        float, Field(ge=0, le=1, description="share of failed trials above which the sweep stops")
    ] = 0.5
    winner_seeds: Annotated[
        int, Field(ge=1, description="runs of the best configuration that are told on test")
    ] = 3

    @field_validator("optimize", mode="before")
    @classmethod
    def _one_score(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("scheduler", mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value
