"""What came of a sweep: counts, costs, and the best configuration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.sweeps.folder import SweepFolder
from pipeline.sweeps.ledger import (
    COLLAPSED,
    FAILED,
    FINISHED,
    HALTED,
    PRUNED,
    RUNNING,
    Trial,
)
from pipeline.sweeps.spaces.config import SweepConfig
from pipeline.sweeps.spaces.scores import MEASURES, merits_of


def ranked(trials: Sequence[Trial], config: SweepConfig) -> list[Trial]:
    """Trials that have scores, the best first: finished ones before those that were stopped."""
    assert config.optimize is not None
    found = [(t, merits) for t in trials if (merits := merits_of(t.metrics, config.optimize))]
    order = {FINISHED: 0, RUNNING: 1, HALTED: 1, PRUNED: 1, COLLAPSED: 2, FAILED: 2}
    found.sort(key=lambda pair: (order[pair[0].state], -pair[1][0]))
    return [trial for trial, _ in found]


def winner(trials: Sequence[Trial], config: SweepConfig) -> Trial | None:
    """The finished trial with the best first score; None if none has finished with one."""
    finished = [trial for trial in trials if trial.state == FINISHED]
    return next(iter(ranked(finished, config)), None)


def pareto(trials: Sequence[Trial], config: SweepConfig) -> list[Trial]:
    """Finished trials than which no other is better in one of two scores and as good in the other.

    The best by the first score come first.
    """
    assert config.optimize is not None
    found = [
        (trial, merits)
        for trial in trials
        if trial.state == FINISHED and (merits := merits_of(trial.metrics, config.optimize))
    ]
    found.sort(key=lambda pair: (-pair[1][0], -pair[1][1]))
    front: list[Trial] = []
    best, first = -math.inf, math.nan
    for trial, (one, other) in found:
        # Of equal firsts the first to come has the best second, and those that equal it stay.
        if other > best or (one == first and other == best):
            front.append(trial)
            best, first = other, one
    return front


def core_hours(trials: Sequence[Trial], *, cores: float) -> float:
    """For which trials held their cores."""
    return sum(trial.seconds for trial in trials) * cores / 3600


def core_hours_saved(trials: Sequence[Trial], *, cores: float) -> float:
    """What trials that were stopped early, or collapsed, would have taken to their ends."""
    saved = 0.0
    for trial in trials:
        if trial.state in (PRUNED, COLLAPSED) and trial.total_steps and trial.step:
            saved += trial.seconds * (trial.total_steps / trial.step - 1)
    return saved * cores / 3600


def figures(
    trials: Sequence[Trial], config: SweepConfig, folder: SweepFolder, *, cores: float
) -> dict[str, Any]:
    """What `jobs sweep` says of the search; `best` is added when it was trained again."""
    count = Counter(trial.state for trial in trials)
    return {
        "sweep": folder.name,
        "folder": folder.location,
        "trials": len(trials),
        "finished": count[FINISHED],
        "pruned": count[PRUNED],
        "failed": count[FAILED],
        "collapsed": count[COLLAPSED],
        "halted": count[HALTED],
        "failures": [
            {
                "trial": trial.number,
                "state": trial.state,
                "reason": trial.reason,
                "folder": folder.trial(trial.number),
            }
            for trial in trials
            if trial.state in (FAILED, COLLAPSED)
        ],
        "pareto": [
            {"trial": trial.number, "params": trial.params, "validation": scores_of(trial, config)}
            for trial in (pareto(trials, config) if len(config.optimize or ()) > 1 else [])
        ],
        "core_hours": round(core_hours(trials, cores=cores), 4),
        "core_hours_saved": round(core_hours_saved(trials, cores=cores), 4),
    }


def scores_of(trial: Trial, config: SweepConfig) -> dict[str, float]:
    """The scores that are optimised, by name, with `NAME_error` of several seeds."""
    found = {}
    for score in config.optimize or ():
        metric = MEASURES[score].metric
        if metric in trial.metrics:
            found[str(score)] = trial.metrics[metric]
        if metric in trial.metric_errors:
            found[f"{score}_error"] = trial.metric_errors[metric]
    return found


def scores_text(scores: Mapping[str, float]) -> str:
    """Scores in one line, each with its error where `NAME_error` is beside it."""
    return "  ".join(
        f"{name} {value:.4g}"
        + (f" ± {scores[f'{name}_error']:.2g}" if f"{name}_error" in scores else "")
        for name, value in scores.items()
        if not name.endswith("_error")
    )
