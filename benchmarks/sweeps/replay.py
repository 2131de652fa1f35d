"""What ASHA would have stopped of trials that were trained to their end."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers.trial_scheduler import TrialScheduler

from benchmarks.shared.study import Line
from pipeline.sweeps.spaces.config import SweepConfig
from pipeline.sweeps.trials.schedulers import SCORE, TIME, scheduler_of

PROBE = "linear"
ORDERS = 200


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is left of some trials where bad ones are stopped."""

    trained: int
    """Steps, of all trials."""
    total: int
    """What it would be to train all to their end."""
    rank: int
    """Of the best one that was not stopped, among all; 1: none is better."""
    lost: float
    """Points that it is below the best of all."""

    @property
    def saved(self) -> float:
        """Share of steps."""
        return 1 - self.trained / self.total


def asha(reduction: float) -> SweepConfig:
    """A sweep's section with ASHA, that decides from the first look on."""
    return SweepConfig.model_validate(
        {
            "space": {"objective.temperature": {"log_uniform": [0.05, 1.0]}},
            "optimize": PROBE,
            "scheduler": {"kind": "asha", "reduction": reduction, "grace": 1},
        }
    )


def replay(trials: Sequence[Line], *, at_a_time: int, reduction: float) -> Outcome:
    """Begin trials in this order, whenever a place is free; every step takes equally long."""
    scheduler = scheduler_of(asha(reduction), trials=(), seed=0)
    waiting = enumerate(trials)
    begun = count()
    due: list[tuple[int, int, int, Any]] = []  # time, what began first, look, trial
    trained, finished = 0, []

    def begin(time: int) -> None:
        number, line = next(waiting, (None, None))
        if line is not None:
            trial = SimpleNamespace(trial_id=str(number), config={"trial": number}, line=line)
            scheduler.on_trial_add(None, trial)
            heapq.heappush(due, (time + looks_of(line)[0][0], next(begun), 0, trial))

    for _ in range(at_a_time):
        begin(0)
    while due:
        time, order, look, trial = heapq.heappop(due)
        looks = looks_of(trial.line)
        step, score = looks[look]
        result = {TIME: look + 1, SCORE: score}
        if look + 1 == len(looks):
            scheduler.on_trial_complete(None, trial, result)
            finished.append(trial.line)
        elif scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE:
            heapq.heappush(due, (time + looks[look + 1][0] - step, order, look + 1, trial))
            continue
        trained += step
        begin(time)
    return _outcome(trials, finished, trained)


def whole_trials(trials: Sequence[Line], *, trained: int) -> Outcome:
    """As many of the first trials as so many steps are enough for, rounded, to their end."""
    total = sum(line["steps"] for line in trials)
    taken = max(1, round(len(trials) * trained / total))
    return _outcome(trials, trials[:taken], sum(line["steps"] for line in trials[:taken]))


def orders(trials: Sequence[Line], many: int = ORDERS) -> list[list[Line]]:
    """The trials in other orders, at random."""
    generator = np.random.default_rng(0)
    return [[trials[i] for i in generator.permutation(len(trials))] for _ in range(many)]


def looks_of(line: Line) -> list[tuple[int, float]]:
    """Steps and scores, the end among them."""
    looks = [(look["step"], look[PROBE]) for look in line["curve"]]
    return [*looks, (line["steps"], line[PROBE])]


def first_look(trials: Sequence[Line]) -> int:
    """Steps until it."""
    return looks_of(trials[0])[0][0]


def _outcome(trials: Sequence[Line], finished: Sequence[Line], trained: int) -> Outcome:
    best = max(line[PROBE] for line in trials)
    winner = max(line[PROBE] for line in finished)
    return Outcome(
        trained=trained,
        total=sum(line["steps"] for line in trials),
        rank=1 + sum(line[PROBE] > winner for line in trials),
        lost=100 * (best - winner),
    )
