"""Which trials are best, told by comparing every two of them, and what they cost."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sweeps.folder import SweepFolder
from pipeline.sweeps.ledger import (
    COLLAPSED,
    ENDED,
    FAILED,
    FINISHED,
    HALTED,
    PRUNED,
    RUNNING,
    Look,
    Trial,
)
from pipeline.sweeps.outcome import (
    core_hours,
    core_hours_saved,
    figures,
    pareto,
    ranked,
    scores_of,
    scores_text,
    winner,
)
from pipeline.sweeps.spaces.config import SweepConfig

pytestmark = pytest.mark.fast

STATES = (*ENDED, HALTED, RUNNING)
FEW = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 2.0, math.nan, math.inf])
"""So that many are equal."""


def config_of(*scores: str) -> SweepConfig:
    space = {"objective.temperature": {"uniform": [0.1, 0.9]}}
    return SweepConfig.model_validate({"space": space, "optimize": list(scores)})


ONE, TWO = config_of("knn"), config_of("knn", "idest")


def metrics_of(knn: float | None, idest: float | None = None) -> dict[str, float]:
    found = {"eval/knn": knn, "eval/idest": idest}
    return {name: value for name, value in found.items() if value is not None}


def trial(number: int, state: str = FINISHED, **facts: Any) -> Trial:
    return Trial(number=number, params={"p": number}, origin="random", state=state, **facts)


def look(step: int, metrics: dict[str, float], **errors: float) -> Look:
    return Look(number=step, step=step, metrics=metrics, errors=errors, params={})


@st.composite
def trials(draw: st.DrawFn) -> list[Trial]:
    found = []
    for number in range(draw(st.integers(0, 9))):
        state = draw(st.sampled_from(STATES))
        first, last = (metrics_of(draw(st.none() | FEW), draw(st.none() | FEW)) for _ in range(2))
        found.append(
            trial(
                number,
                state,
                looks=[look(5, first)] if draw(st.booleans()) else [],
                final=last if state == FINISHED else {},
            )
        )
    return found


def scores(one: Trial) -> list[float] | None:
    """kNN and IdEst so that more is better; None if one of them is not known."""
    values = [one.metrics.get("eval/knn", math.nan), -one.metrics.get("eval/idest", math.nan)]
    return values if all(map(math.isfinite, values)) else None


def knn(one: Trial) -> float:
    return one.metrics.get("eval/knn", math.nan)


def is_better(one: Trial, other: Trial) -> bool:
    """By the end it came to, and then by kNN."""
    ends = [[FINISHED], [RUNNING, HALTED, PRUNED], [COLLAPSED, FAILED]]
    places = [next(n for n, end in enumerate(ends) if t.state in end) for t in (one, other)]
    return places[0] < places[1] or (places[0] == places[1] and knn(one) > knn(other))


@settings(max_examples=300, deadline=None)
@given(trials())
def test_the_ranking_has_no_worse_one_before_a_better_one(given_trials: list[Trial]) -> None:
    found = ranked(given_trials, ONE)
    known = [one for one in given_trials if math.isfinite(knn(one))]
    assert sorted(t.number for t in found) == [t.number for t in known]
    for place, one in enumerate(found):
        for other in found[place + 1 :]:
            assert not is_better(other, one)
            if not is_better(one, other):  # a tie: the earlier one first
                assert one.number < other.number


@settings(deadline=None)
@given(trials())
def test_the_winner_is_a_finished_one_that_none_beats(given_trials: list[Trial]) -> None:
    finished = [t for t in given_trials if t.state == FINISHED and math.isfinite(knn(t))]
    best = winner(given_trials, ONE)
    if best is None:
        assert not finished
    else:
        assert best in finished
        assert knn(best) == max(map(knn, finished))
        assert best.number == min(t.number for t in finished if knn(t) == knn(best))


@settings(max_examples=300, deadline=None)
@given(trials())
def test_the_front_is_what_no_other_beats_in_both(given_trials: list[Trial]) -> None:
    known = {
        t.number: values
        for t in given_trials
        if t.state == FINISHED and (values := scores(t)) is not None
    }
    front = {
        number
        for number, own in known.items()
        if not any(
            all(theirs >= ours for theirs, ours in zip(other, own, strict=True)) and other != own
            for other in known.values()
        )
    }
    found = [t.number for t in pareto(given_trials, TWO)]
    assert len(found) == len(set(found))
    assert set(found) == front
    firsts = [known[number][0] for number in found]
    assert firsts == sorted(firsts, reverse=True)
    best = winner(given_trials, TWO)
    assert not found or (best is not None and known[best.number][0] == firsts[0])


def test_a_front_by_hand() -> None:
    points = [(0.9, 9.0), (0.8, 5.0), (0.8, 5.0), (0.8, 6.0), (0.7, 5.0), (0.5, 2.0), (0.4, 2.5)]
    given_trials = [trial(n, final=metrics_of(*point)) for n, point in enumerate(points)]
    assert [t.number for t in pareto(given_trials, TWO)] == [0, 1, 2, 5]


def test_core_hours_are_of_all_starts() -> None:
    given_trials = [
        trial(0, earlier_seconds=1800.0, seconds_now=900.0),
        trial(1, state=FAILED, seconds_now=900.0),
    ]
    assert core_hours(given_trials, cores=4) == pytest.approx(4.0)
    assert core_hours([], cores=4) == 0


def test_saved_is_what_was_left_of_those_that_were_stopped() -> None:
    def stopped(state: str, step: int, seconds: float, total: int | None = 100) -> Trial:
        looks = [look(step, {})] if step else []
        return trial(0, state, looks=looks, seconds_now=seconds, total_steps=total)

    assert core_hours_saved([stopped(PRUNED, 25, 3600)], cores=2) == pytest.approx(2 * 3)
    assert core_hours_saved([stopped(COLLAPSED, 50, 3600)], cores=1) == pytest.approx(1)
    both = [stopped(PRUNED, 25, 3600), stopped(COLLAPSED, 50, 3600)]
    assert core_hours_saved(both, cores=1) == pytest.approx(4)
    for state in (FINISHED, FAILED, HALTED, RUNNING):
        assert core_hours_saved([stopped(state, 25, 3600)], cores=1) == 0
    assert core_hours_saved([stopped(PRUNED, 0, 3600)], cores=1) == 0
    assert core_hours_saved([stopped(PRUNED, 25, 3600, total=None)], cores=1) == 0


def test_scores_are_told_with_their_errors() -> None:
    ended = trial(0, final=metrics_of(0.5, 3.0), errors={"eval/knn": 0.1, "loss": 1.0})
    assert scores_of(ended, TWO) == {"knn": 0.5, "knn_error": 0.1, "idest": 3.0}
    running = trial(1, RUNNING, looks=[look(5, metrics_of(0.25), **{"eval/knn": 0.2})])
    assert scores_of(running, TWO) == {"knn": 0.25, "knn_error": 0.2}


def test_figures_count_every_end() -> None:
    given_trials = [trial(n, state) for n, state in enumerate(STATES)]
    given_trials[STATES.index(FAILED)].reason = "no memory"
    folder = SweepFolder("/sweeps/mine")
    found = figures(given_trials, ONE, folder, cores=1)
    assert found["sweep"] == "mine"
    assert found["trials"] == len(STATES)
    assert {state: found[state] for state in (*ENDED, HALTED)} == dict.fromkeys((*ENDED, HALTED), 1)
    assert {(f["state"], f["reason"]) for f in found["failures"]} == {
        (FAILED, "no memory"),
        (COLLAPSED, None),
    }
    assert all(f["folder"] == folder.trial(f["trial"]) for f in found["failures"])
    assert found["pareto"] == []
    two = figures([trial(0, final=metrics_of(0.5, 3.0))], TWO, folder, cores=1)
    assert two["pareto"] == [
        {"trial": 0, "params": {"p": 0}, "validation": {"knn": 0.5, "idest": 3.0}}
    ]


def test_scores_are_told_with_their_errors_where_there_are_some() -> None:
    scores = {"linear": 0.45678, "linear_error": 0.0123, "rankme": 73.6}
    assert scores_text(scores) == "linear 0.4568 ± 0.012  rankme 73.6"
    assert scores_text({}) == ""
