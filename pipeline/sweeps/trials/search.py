"""Which configuration comes next: the known good ones first, then what the searcher gives."""

from __future__ import annotations

import itertools
import json
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from pipeline.randomness import seed_for, uniform
from pipeline.recipe import Recipe
from pipeline.sweeps.ledger import COLLAPSED, ENDED, FAILED, FINISHED, PRUNED, Trial, read_trials
from pipeline.sweeps.spaces.config import SweepConfig
from pipeline.sweeps.spaces.dimension import DimensionConfig
from pipeline.sweeps.spaces.scores import merits_of
from pipeline.sweeps.spaces.space import (
    Params,
    combinations,
    drawn,
    fixed_values,
    own_configuration,
)

optuna.logging.set_verbosity(logging.ERROR)

RECIPE, WARM_START = "recipe", "warm start"
_WARM = 3
_WORST = -1e30
"""Merit of a trial that collapsed or failed: the searcher is to keep away from there."""


class Search:
    """Gives configurations by number, and learns from trials that ended.

    A configuration depends on the seed, its number, and what is known when it is asked for. So a
    random search and a grid are the same whatever has happened, and a sweep that is taken up again
    does not draw anew what it had drawn.
    """

    def __init__(self, recipe: Recipe, config: SweepConfig, *, known: Sequence[Params]) -> None:
        """Know where to search.

        Args:
            recipe: of the sweep.
            config: its `sweep` section.
            known: configurations of an earlier sweep that come first, after the recipe's own.
        """
        self._config = config
        self._space = config.space
        self._seed = recipe.seed
        self._fixed = fixed_values(recipe, config.space)
        own = own_configuration(recipe, config.space)
        first = ([(own, RECIPE)] if own is not None else []) + [(p, WARM_START) for p in known]
        self._first = [
            found for number, found in enumerate(first) if found[0] not in _params(first[:number])
        ]
        if config.searcher == "grid":
            grid = list(itertools.islice(combinations(config.space, self._fixed), config.trials))
            self._first = [(params, "grid") for params in grid]
        self._asked: dict[int, optuna.Trial] = {}
        self._told: set[int] = set()
        self._study = optuna.create_study(directions=["maximize"] * len(config.optimize or (0,)))

    def ask(self, number: int) -> tuple[Params, str] | None:
        """The configuration of a trial and who gave it; None: a grid has no more."""
        if number < len(self._first):
            return self._first[number]
        if self._config.searcher == "grid":
            return None
        if self._config.searcher == "random":
            return drawn(self._space, self._fixed, self._at_random(number)), "random"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental, says Optuna of what it recommends
            self._study.sampler = optuna.samplers.TPESampler(
                seed=seed_for("sweep", self._seed, number) % 2**32,
                multivariate=True,
                group=True,
                constant_liar=True,
            )
        self._asked[number] = asked = self._study.ask()
        return drawn(self._space, self._fixed, lambda p, d: _suggest(asked, p, d)), "optuna"

    def tell(self, trial: Trial) -> None:
        """Learn from a trial that ended; of one that goes on later nothing is learnt yet."""
        if self._config.searcher != "optuna" or trial.number in self._told:
            return
        if trial.state not in ENDED:
            return
        self._told.add(trial.number)
        scores = self._config.optimize
        assert scores is not None
        state, values = TrialState.COMPLETE, merits_of(trial.metrics, scores)
        looks = {look.step: merits_of(look.metrics, scores) for look in trial.looks}
        seen = {step: merits[0] for step, merits in looks.items() if merits}
        if trial.state in (COLLAPSED, FAILED):
            values = [_WORST] * len(scores)
        elif trial.state == PRUNED and len(scores) == 1:
            state, values = TrialState.PRUNED, None
        elif values is None:
            state, values = TrialState.FAIL, None
        asked = self._asked.pop(trial.number, None)
        if asked is not None and len(scores) == 1:
            for step, merit in seen.items():
                asked.report(merit, step)
        if asked is not None:
            self._study.tell(asked, values, state=state)
            return
        dimensions = {path: self._space[path] for path in trial.params if path in self._space}
        if all(dimension.allows(trial.params[path]) for path, dimension in dimensions.items()):
            self._study.add_trial(
                optuna.create_trial(
                    state=state,
                    values=values,
                    params={path: _told(d, trial.params[path]) for path, d in dimensions.items()},
                    distributions={path: _distribution(d) for path, d in dimensions.items()},
                    intermediate_values=seen if len(scores) == 1 else {},
                )
            )

    def _at_random(self, number: int) -> Any:
        def choose(path: str, dimension: DimensionConfig) -> Any:
            return dimension.at(float(uniform(self._seed, "sweep", number, path)))

        return choose


def best_of(ledger: str, recipe: Recipe) -> list[Params]:
    """The best configurations of an earlier sweep that are in a space, by the space's first score.

    Args:
        ledger: the earlier sweep's.
        recipe: of the new one.
    """
    config = recipe.sweep
    assert config is not None
    fixed = fixed_values(recipe, config.space)
    scores = config.optimize
    assert scores is not None
    merits = [
        (found[0], trial.params)
        for trial in read_trials(ledger)
        if trial.state == FINISHED and (found := merits_of(trial.metrics, scores[:1]))
    ]
    ranked = [params for _, params in sorted(merits, key=lambda pair: -pair[0])]
    return [params for params in ranked if _within(params, config, fixed)][:_WARM]


def _within(params: Params, config: SweepConfig, fixed: Params) -> bool:
    """Whether a configuration has a value of every dimension that applies, and no others."""
    space = config.space
    applying = {path for path in space if space[path].applies({**fixed, **params})}
    return applying == set(params) and all(
        space[path].allows(value) for path, value in params.items()
    )


def _params(found: Sequence[tuple[Params, str]]) -> list[Params]:
    return [params for params, _ in found]


def _suggest(asked: optuna.Trial, path: str, dimension: DimensionConfig) -> Any:
    if dimension.choice is not None:
        return json.loads(asked.suggest_categorical(path, [*map(_text, dimension.choice)]))
    distribution = _distribution(dimension)
    if isinstance(distribution, IntDistribution):
        return asked.suggest_int(path, distribution.low, distribution.high, step=distribution.step)
    assert isinstance(distribution, FloatDistribution)
    value = asked.suggest_float(
        path, distribution.low, distribution.high, step=distribution.step, log=distribution.log
    )
    return dimension.quantised(value)


def _distribution(dimension: DimensionConfig) -> BaseDistribution:
    if dimension.listed is not None:
        return CategoricalDistribution([*map(_text, dimension.listed)])
    assert dimension.ends is not None
    low, high = dimension.ends
    if dimension.integer is not None:
        step = int(dimension.step or 1)
        low, high = map(int, dimension.ends)
        return IntDistribution(low, high - (high - low) % step, step=step)
    if dimension.step is not None:
        return FloatDistribution(low, dimension.clipped(high), step=dimension.step)
    return FloatDistribution(low, high, log=dimension.log_uniform is not None)


def _told(dimension: DimensionConfig, value: Any) -> Any:
    """A value as the distribution has it."""
    if dimension.listed is not None:
        return _text(dimension.listed[dimension.listed.index(value)])  # 1 may be written 1.0
    return dimension.clipped(value)  # to its step


def _text(value: Any) -> str:
    """Optuna takes no lists for choices."""
    return json.dumps(value)
