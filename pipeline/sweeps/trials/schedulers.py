"""Ray Tune's schedulers, told of what a sweep knows from before."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining
from ray.tune.schedulers.trial_scheduler import TrialScheduler

from pipeline.sweeps.ledger import Trial
from pipeline.sweeps.spaces.config import ASHAConfig, PBTConfig, SweepConfig
from pipeline.sweeps.spaces.dimension import DimensionConfig
from pipeline.sweeps.spaces.scores import merits_of

TIME, SCORE = "look", "score"
"""Of a trial's results. Looks are numbered from 1: with other batches the same look is at another
step, and has seen as many samples."""
_FACTORS = (1.2, 0.8)


def scheduler_of(
    config: SweepConfig,
    *,
    trials: Sequence[Trial],
    seed: int,
    prune: Callable[[int], None] | None = None,
) -> TrialScheduler:
    """The scheduler of a sweep.

    Args:
        config: the recipe's `sweep` section.
        trials: that were begun before.
        seed: of a population's changes.
        prune: asks a trial to end, by its number, in place of Tune, which would kill it if it took
            long; None: Tune is told to stop it.
    """
    if isinstance(config.scheduler, ASHAConfig):
        return _asha(config, config.scheduler, trials=trials, prune=prune)
    if isinstance(config.scheduler, PBTConfig):
        return _pbt(config, config.scheduler, seed=seed)
    return FIFOScheduler()


def _asha(
    config: SweepConfig,
    asha: ASHAConfig,
    *,
    trials: Sequence[Trial],
    prune: Callable[[int], None] | None,
) -> ASHAScheduler:
    scheduler = _ASHA(
        prune=prune,
        time_attr=TIME,
        metric=SCORE,
        mode="max",
        grace_period=asha.grace,
        reduction_factor=asha.reduction,
        # Trials end by themselves; Tune would stop those that reach this as if they were bad.
        max_t=2**40,
        stop_last_trials=False,
    )
    assert config.optimize is not None
    (bracket,) = scheduler._brackets
    for trial in trials:
        for look in trial.looks:
            merits = merits_of(look.metrics, config.optimize)
            if merits:
                stand_in: Any = SimpleNamespace(trial_id=_earlier(trial.number))
                bracket.on_result(stand_in, look.number, merits[0])
    return scheduler


class _ASHA(ASHAScheduler):
    """Asks trials to end, and knows one that goes on, with another id in Tune, by its number."""

    def __init__(self, *, prune: Callable[[int], None] | None, **settings: Any) -> None:
        super().__init__(**settings)
        self._prune = prune
        self._pruned: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prune": None}  # Tune saves it, and we never restore it

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = trial.config["trial"]
        if number in self._pruned:
            return str(TrialScheduler.CONTINUE)
        decision = str(super().on_trial_result(tune_controller, trial, result))
        if decision == TrialScheduler.STOP and self._prune is not None:
            self._pruned.add(number)
            self._prune(number)
            return str(TrialScheduler.CONTINUE)
        return decision

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        earlier = _earlier(trial.config["trial"])
        for bracket in self._brackets:
            for _, recorded in bracket._rungs:
                if earlier in recorded:
                    recorded[trial.trial_id] = recorded.pop(earlier)


def _earlier(number: int) -> str:
    return f"earlier {number}"


def _pbt(config: SweepConfig, pbt: PBTConfig, *, seed: int) -> PopulationBasedTraining:
    # Tune's changes are drawn from the global generators: new values from numpy's, all else here.
    random.seed(seed)
    np.random.seed(seed % 2**32)

    def explore(changed: dict[str, Any]) -> dict[str, Any]:
        params = changed["params"]
        for path, value in params.items():
            if config.space[path].ends is not None:
                params[path] = config.space[path].clipped(value)
        return changed

    return _Population(
        time_attr=TIME,
        metric=SCORE,
        mode="max",
        perturbation_interval=pbt.interval,
        hyperparam_mutations={
            "params": {path: _mutation(dimension) for path, dimension in config.space.items()}
        },
        quantile_fraction=pbt.quantile,
        resample_probability=pbt.resample,
        perturbation_factors=_FACTORS,
        custom_explore_fn=explore,
        log_config=False,
        require_attrs=False,  # a look without a score is none to compare by
        synch=pbt.synchronous,
    )


class _Population(PopulationBasedTraining):
    """Goes on when members that wait for others wait for ones that have ended."""

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        found = super().choose_trial_to_run(tune_controller)
        live = tune_controller.get_live_trials()
        if found is not None or any(trial.status in ("RUNNING", "PENDING") for trial in live):
            return found
        return next((trial for trial in live if trial.status == "PAUSED"), None)


def _mutation(dimension: DimensionConfig) -> Any:
    if dimension.listed is not None:
        return list(dimension.listed)
    assert dimension.ends is not None
    low, high = dimension.ends
    if dimension.log_uniform is not None:
        return tune.loguniform(low, high)
    return tune.uniform(low, high)
