"""Ray Tune's schedulers decide by what a sweep knows from before, and stay within its space."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import FIFOScheduler, PopulationBasedTraining
from ray.tune.schedulers.trial_scheduler import TrialScheduler

from pipeline.sweeps.ledger import Look, Trial
from pipeline.sweeps.spaces.config import SweepConfig
from pipeline.sweeps.spaces.rungs import rungs
from pipeline.sweeps.trials.schedulers import scheduler_of

pytestmark = pytest.mark.fast

STOP, CONTINUE = TrialScheduler.STOP, TrialScheduler.CONTINUE


def config_of(space: dict[str, Any] | None = None, **sweep: Any) -> SweepConfig:
    space = space or {"objective.temperature": {"uniform": [0.1, 0.9]}}
    return SweepConfig.model_validate({"space": space, "optimize": "knn", **sweep})


def scheduler_for(config: SweepConfig, trials: Sequence[Trial] = ()) -> TrialScheduler:
    return scheduler_of(config, trials=trials, seed=0)


def in_tune(number: int, session: int = 0) -> Any:
    """A trial as Tune has it, whose id is another in every session."""
    return SimpleNamespace(trial_id=f"session-{session}-{number}", config={"trial": number})


def known(number: int, scores: Sequence[float], *, metric: str = "eval/knn") -> Trial:
    """A trial as the ledger has it, with a look at every step so far."""
    looks = [
        Look(number=place + 1, step=place + 1, metrics={metric: score}, errors={}, params={})
        for place, score in enumerate(scores)
    ]
    return Trial(number=number, params={}, origin="random", looks=looks)


class Sessions:
    """A sweep whose driver is killed and begun anew now and then, beside one that never is."""

    def __init__(self, config: SweepConfig) -> None:
        self.config = config
        self.undisturbed: Any = scheduler_for(config)
        self.scheduler: Any = scheduler_for(config)
        self.scores: dict[int, list[float]] = {}
        self.session = 0
        self.added: set[int] = set()
        self.stopped: set[int] = set()

    def restart(self) -> None:
        self.session += 1
        self.added = set()
        trials = [known(number, scores) for number, scores in self.scores.items()]
        self.scheduler = scheduler_for(self.config, trials)

    def look(self, number: int, score: float) -> tuple[str, str]:
        """What both decide of a trial's next look."""
        if number not in self.scores:
            self.undisturbed.on_trial_add(None, in_tune(number))
        if number not in self.added:
            self.added.add(number)
            self.scheduler.on_trial_add(None, in_tune(number, self.session))
        scores = self.scores.setdefault(number, [])
        scores.append(score)
        result = {"look": len(scores), "score": score}
        decisions = (
            self.scheduler.on_trial_result(None, in_tune(number, self.session), result),
            self.undisturbed.on_trial_result(None, in_tune(number), result),
        )
        if STOP in decisions:
            self.stopped.add(number)
        return decisions


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 20), st.integers(0, 9)), max_size=60),
    st.sampled_from([2.0, 3.0, 1.5]),
    st.integers(1, 3),
)
def test_asha_decides_as_if_it_had_never_been_interrupted(
    events: list[tuple[int, int, int]], reduction: float, grace: int
) -> None:
    scheduler = {"kind": "asha", "reduction": reduction, "grace": grace}
    sessions = Sessions(config_of(scheduler=scheduler))
    for number, score, chance in events:
        if not chance:
            sessions.restart()
        if number not in sessions.stopped:
            resumed, undisturbed = sessions.look(number, score / 20)
            assert resumed == undisturbed


def rungs_of(reduction: float, grace: int, last: int) -> list[float]:
    found, milestone = [], float(grace)
    while milestone <= last:
        found.append(milestone)
        milestone *= reduction
    return found


def assert_halves(events: Sequence[tuple[int, float]], reduction: float, grace: int) -> None:
    """At each rung a trial stops if it is worse than the quantile of those that came before it."""
    scheduler = {"kind": "asha", "reduction": reduction, "grace": grace}
    sessions = Sessions(config_of(scheduler=scheduler))
    recorded: dict[float, dict[int, float]] = {}
    for number, score in events:
        if number in sessions.stopped:
            continue
        step = len(sessions.scores.get(number, ())) + 1
        expected, passed = CONTINUE, rungs_of(reduction, grace, step)
        rung = recorded.setdefault(passed[-1], {}) if passed else {}
        if passed and number not in rung:
            if rung and score < np.quantile(list(rung.values()), 1 - 1 / reduction):
                expected = STOP
            rung[number] = score
        assert sessions.look(number, score) == (expected, expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0.1, 0.2, 0.4, 0.8])), max_size=60),
    st.sampled_from([2.0, 3.0]),
    st.integers(1, 2),
)
def test_asha_is_asynchronous_successive_halving(
    events: list[tuple[int, float]], reduction: float, grace: int
) -> None:
    assert_halves(events, reduction, grace)


def test_a_rung_that_lay_between_two_looks_is_not_gone_back_to() -> None:
    """At first there are many rungs between looks, later many looks between rungs."""
    for seed in range(20):
        chance = random.Random(seed)
        assert_halves([(number % 4, chance.random()) for number in range(120)], 1.1, 3)


def test_a_resumed_trial_is_not_judged_again_where_it_passed() -> None:
    """It was the first at its rung; others came and are better."""
    others = [known(number, [0.9]) for number in range(1, 6)]
    scheduler: Any = scheduler_for(config_of(scheduler="asha"), [known(0, [0.1]), *others])
    resumed, stranger = in_tune(0, 1), in_tune(9, 1)
    for trial in (resumed, stranger):
        scheduler.on_trial_add(None, trial)
    result = {"look": 2, "score": 0.1}
    assert scheduler.on_trial_result(None, resumed, result) == CONTINUE
    assert scheduler.on_trial_result(None, stranger, result) == STOP


def test_a_look_without_a_score_says_nothing() -> None:
    blind = [known(number, [math.nan]) for number in range(5)]
    others = [known(number, [0.9], metric="eval/lidar") for number in range(5, 9)]
    scheduler: Any = scheduler_for(config_of(scheduler="asha"), [*blind, *others])
    trial = in_tune(9, 1)
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {"look": 1, "score": 0.0}) == CONTINUE


def test_a_score_of_which_less_is_better_is_turned() -> None:
    earlier = [
        known(number, [value], metric="eval/idest") for number, value in enumerate((3.0, 4.0, 5.0))
    ]
    scheduler: Any = scheduler_for(config_of(scheduler="asha", optimize="idest"), earlier)
    decisions = []
    for number, value in ((8, 2.0), (9, 9.0)):
        scheduler.on_trial_add(None, in_tune(number, 1))
        result = {"look": 1, "score": -value}
        decisions.append(scheduler.on_trial_result(None, in_tune(number, 1), result))
    assert decisions == [CONTINUE, STOP]


def test_without_a_scheduler_nothing_is_stopped() -> None:
    scheduler = scheduler_for(config_of(scheduler=None), [known(0, [0.9])])
    assert type(scheduler) is FIFOScheduler


SPACE: dict[str, Any] = {
    "objective.temperature": {"uniform": [0.1, 0.5]},
    "train.optimizer.lr": {"log_uniform": [1e-4, 1e-1]},
    "train.optimizer.momentum": {"uniform": [0.5, 0.9], "step": 0.05},
    "pairs.miner.epochs": {"integer": [3, 12], "step": 3},
    "pairs.miner.start": {"integer": [0, 4]},
    "objective.weights": {"choice": [[1, 2], [2, 2], "none"]},
    "objective.share": {"choice": [0.1, 0.2, 0.4]},
}
START = {
    "objective.temperature": 0.45,
    "train.optimizer.lr": 9e-2,
    "train.optimizer.momentum": 0.85,
    "pairs.miner.epochs": 9,
    "pairs.miner.start": 4,
    "objective.weights": [1, 2],
    "objective.share": 0.4,
}


@pytest.mark.parametrize("resample", [0.0, 0.5, 1.0])
def test_what_a_population_explores_is_within_its_space(resample: float) -> None:
    config = config_of(SPACE, scheduler={"kind": "pbt", "resample": resample})
    scheduler = scheduler_for(config)
    assert isinstance(scheduler, PopulationBasedTraining)
    params, seen = dict(START), {path: {str(value)} for path, value in START.items()}
    fixed = {"sweep": "folder", "trial": 3, "looked": {3: 10}, "members": [3, 4]}
    for _ in range(400):
        donor: Any = SimpleNamespace(config={**fixed, "params": params})
        before = str(params)
        changed, _ = scheduler._get_new_config(in_tune(4), donor)
        assert str(params) == before, "the donor's own were changed"
        assert {name: changed[name] for name in fixed} == fixed
        params = changed["params"]
        assert params.keys() == SPACE.keys()
        for path, dimension in config.space.items():
            assert dimension.allows(params[path]), (path, params[path])
            seen[path].add(str(params[path]))
        assert type(params["pairs.miner.epochs"]) is int
    twentieths = {str(round(0.5 + 0.05 * number, 2)) for number in range(9)}
    assert seen["train.optimizer.momentum"] <= twentieths
    assert seen["pairs.miner.epochs"] <= {"3", "6", "9", "12"}
    assert seen["objective.share"] == {"0.1", "0.2", "0.4"}
    assert seen["objective.weights"] == {"[1, 2]", "[2, 2]", "none"}
    assert all(len(values) > 1 for values in seen.values()), "one never changes"


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 1e3), st.integers(0, 2**32 - 1))
def test_one_change_is_a_fifth_of_the_donors_value(value: float, seed: int) -> None:
    space = {"objective.temperature": {"uniform": [1e-7, 1e4]}}
    pbt = {"kind": "pbt", "resample": 0.0}
    scheduler: Any = scheduler_of(config_of(space, scheduler=pbt), trials=[], seed=seed)
    donor = SimpleNamespace(config={"params": {"objective.temperature": value}})
    changed, _ = scheduler._get_new_config(in_tune(1), donor)
    found = changed["params"]["objective.temperature"]
    assert found in (pytest.approx(0.8 * value), pytest.approx(1.2 * value))


def test_changes_are_those_of_the_seed() -> None:
    donor = SimpleNamespace(config={"params": START})

    def changes(seed: int) -> list[Any]:
        config = config_of(SPACE, scheduler="pbt")
        scheduler: Any = scheduler_of(config, trials=[], seed=seed)
        return [scheduler._get_new_config(in_tune(1), donor)[0]["params"] for _ in range(5)]

    assert changes(1) == changes(1)
    assert changes(1) != changes(2)


def test_rungs_are_where_tune_decides() -> None:
    for reduction, grace in ((3.0, 1), (2.5, 2), (1.3, 1)):
        config = config_of(scheduler={"kind": "asha", "reduction": reduction, "grace": grace})
        scheduler: Any = scheduler_for(config)
        (bracket,) = scheduler._brackets
        steps = sorted({7 * math.ceil(milestone) for milestone, _ in bracket._rungs})
        assert rungs(config, every=7, total=1000) == [step for step in steps if step < 1000]
    assert rungs(config_of(scheduler="pbt"), every=7, total=1000) == []
    assert rungs(config_of(scheduler=None), every=7, total=1000) == []
