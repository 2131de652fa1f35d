"""The recipes of a sweep's runs: trials, which never see the test set, and the winner."""

from __future__ import annotations

from pipeline.data import storage
from pipeline.evaluation.config import EvaluateConfig, OnCollapse, Probe
from pipeline.planning.length import snapshot_steps, stream_plan, total_steps
from pipeline.recipe import Recipe
from pipeline.sweeps.spaces.config import PBTConfig, SweepConfig
from pipeline.sweeps.spaces.scores import MEASURES
from pipeline.sweeps.spaces.space import Params, recipe_with

_SNAPSHOT_SHARE = 0.1
"""Of a trial's cost: what looks are too small to tell, no pruning can know."""
_CHECKPOINTS_OF_DONORS = 4


def sweep_config(recipe: Recipe) -> SweepConfig:
    """The recipe's `sweep` section, which it has."""
    assert recipe.sweep is not None
    return recipe.sweep


def trial_recipe(recipe: Recipe, params: Params, *, seed: int) -> Recipe:
    """The recipe of one run of a trial.

    All trials have the same order of data, views and first weights for a seed, as far as settings
    leave them: so differences between them are paired.

    Args:
        recipe: of the sweep.
        params: the trial's configuration.
        seed: which of the trial's runs it is, from 0.
    """
    config = sweep_config(recipe)
    trial = recipe_with(recipe, params)
    trial = trial.model_copy(
        update={
            "sweep": None,
            "name": None,
            "seed": recipe.seed + seed,
            "evaluate": _evaluate(trial.evaluate, config),
            "train": trial.train.model_copy(update={"trace": None}),
            "tracking": trial.tracking.model_copy(update={"register_as": None}),
        }
    )
    plan = stream_plan(trial)
    if trial.evaluate.every is None:
        every = total_steps(trial, plan) / plan.steps_per_epoch / config.looks
        evaluate = trial.evaluate.model_copy(update={"every": every})
        trial = trial.model_copy(update={"evaluate": evaluate})
    # What is asked for, and what is found out, is seen when the journal gets a line.
    log_every = min(trial.train.log_every, snapshot_steps(trial, plan) or trial.train.log_every)
    train = trial.train.model_copy(update={"log_every": log_every})
    trial = trial.model_copy(update={"train": train})
    if isinstance(config.scheduler, PBTConfig):
        checkpoint = trial.train.checkpoint.model_copy(
            update={
                "every_steps": snapshot_steps(trial, plan),
                "every_minutes": None,
                "keep": max(_CHECKPOINTS_OF_DONORS, trial.train.checkpoint.keep),
            }
        )
        train = trial.train.model_copy(update={"checkpoint": checkpoint})
        trial = trial.model_copy(update={"train": train})
    return trial


def _evaluate(evaluate: EvaluateConfig, config: SweepConfig) -> EvaluateConfig:
    labelled = [Probe(score) for score in config.optimize or () if MEASURES[score].labels]
    return evaluate.model_copy(
        update={
            "validation": config.validation if evaluate.train else None,
            "probes": tuple(labelled) or evaluate.probes[:1],
            "snapshot_share": max(_SNAPSHOT_SHARE, evaluate.snapshot_share),
            "on_collapse": OnCollapse.stop,
        }
    )


def winner_recipe(recipe: Recipe, params: Params, *, sweep: str, trial: int, seed: int) -> Recipe:
    """The recipe of a run of the best configuration, told on test.

    Args:
        recipe: of the sweep.
        params: the configuration.
        sweep: the sweep's name, under which the first run's encoder is registered unless the recipe
            has another.
        trial: the configuration's number.
        seed: which of the runs it is, from 0.
    """
    winner = recipe_with(recipe, params)
    evaluate = winner.evaluate
    if evaluate.test is not None:
        evaluate = evaluate.model_copy(update={"validation": None})
    register = (winner.tracking.register_as or sweep) if seed == 0 else None
    return winner.model_copy(
        update={
            "sweep": None,
            "name": f"{sweep}-trial-{trial}-seed-{recipe.seed + seed}",
            "seed": recipe.seed + seed,
            "evaluate": evaluate,
            "tracking": winner.tracking.model_copy(update={"register_as": register}),
        }
    )


def folder_of_sweeps(recipe: Recipe) -> str:
    """Where sweeps lie: beside the runs of their experiment."""
    return storage.join(recipe.tracking.storage, recipe.tracking.experiment)


def looks_of(recipe: Recipe, trial: Recipe) -> int:
    """How often a trial is looked at before its end."""
    plan = stream_plan(trial)
    every = snapshot_steps(trial, plan)
    return (total_steps(trial, plan) - 1) // every if every else 0
