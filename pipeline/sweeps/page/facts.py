"""What the page is drawn from: a sweep's trials as they are at one moment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pipeline.recipe import Recipe
from pipeline.sweeps import outcome
from pipeline.sweeps.ledger import FINISHED, Trial
from pipeline.sweeps.page.texts import short_names
from pipeline.sweeps.spaces.config import SweepConfig
from pipeline.sweeps.spaces.scores import MEASURES, Score


@dataclass(frozen=True, kw_only=True)
class SweepFacts:
    """A sweep and its trials."""

    name: str
    recipe: Recipe
    config: SweepConfig
    scores: tuple[Score, ...]
    """What is optimised, the first before the second."""
    trials: Sequence[Trial]
    best: Mapping[str, Any] | None
    """What `train_winner` gives; None before that."""

    @cached_property
    def ranked(self) -> list[Trial]:
        """Trials with scores, the best first. One that is not a number is none."""
        scored = [t for t in self.trials if all(value_of(t, s) is not None for s in self.scores)]
        return outcome.ranked(scored, self.config)

    @cached_property
    def finished(self) -> list[Trial]:
        """Of these the finished ones."""
        return [trial for trial in self.ranked if trial.state == FINISHED]

    @cached_property
    def unscored(self) -> list[Trial]:
        """Trials without scores, by number."""
        ranked = {trial.number for trial in self.ranked}
        return [trial for trial in self.trials if trial.number not in ranked]

    @cached_property
    def leader(self) -> Trial | None:
        """The trial that was trained again, else the best so far."""
        if self.best is not None:
            return next((t for t in self.trials if t.number == self.best["trial"]), None)
        return next(iter(self.ranked), None)

    @cached_property
    def names(self) -> dict[str, str]:
        """A short name of each setting of the space, by its path."""
        return short_names(self.config.space)


def sweep_facts(
    recipe: Recipe, name: str, trials: Sequence[Trial], *, best: Mapping[str, Any] | None
) -> SweepFacts:
    """Take down what there is.

    Args:
        recipe: of the sweep, with its scores spelt out.
        name: of the sweep.
        trials: all that have begun.
        best: what `train_winner` gives, if it has.
    """
    assert recipe.sweep is not None
    assert recipe.sweep.optimize is not None
    # Threads of the search go on with the trials while the page is drawn.
    taken = [replace(trial, looks=list(trial.looks), donors=list(trial.donors)) for trial in trials]
    return SweepFacts(
        name=name,
        recipe=recipe,
        config=recipe.sweep,
        scores=recipe.sweep.optimize,
        trials=sorted(taken, key=lambda trial: trial.number),
        best=best,
    )


def value_of(trial: Trial, score: Score) -> float | None:
    """A score of a trial as it is last known; None if there is none, or it is not a number."""
    return finite(trial.metrics.get(MEASURES[score].metric))


def error_of(trial: Trial, score: Score) -> float | None:
    """Its standard error over several seeds."""
    latest = trial.errors if trial.final or not trial.looks else trial.looks[-1].errors
    return finite(latest.get(MEASURES[score].metric))


def finite(value: float | None) -> float | None:
    """A value, if it is a number."""
    return value if value is not None and math.isfinite(value) else None
