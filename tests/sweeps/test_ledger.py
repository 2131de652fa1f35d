"""The ledger: what was noted is what is read, whatever was killed in between."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.sweeps import ledger as ledger_module
from pipeline.sweeps.ledger import (
    ENDED,
    FINISHED,
    HALTED,
    PRUNED,
    RUNNING,
    Ledger,
    Trial,
    read_trials,
)

pytestmark = pytest.mark.fast

FLOATS = st.floats(allow_nan=False)
METRICS = st.dictionaries(st.sampled_from(["loss", "eval/knn", "eval/lidar"]), FLOATS)
PARAMS = st.dictionaries(
    st.sampled_from(["objective.kind", "train.optimizer.lr", "objective.projector"]),
    st.one_of(FLOATS, st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=3)),
)
SECONDS = st.floats(0, 1e6)


@st.composite
def notes(draw: st.DrawFn) -> list[tuple[str, list[Any], dict[str, Any]]]:
    """Calls of a ledger in an order that a sweep could make, by name and arguments."""
    found: list[tuple[str, list[Any], dict[str, Any]]] = []
    count = 0
    for _ in range(draw(st.integers(0, 25))):
        events = ["started"]
        if count:
            events += ["looked", "looked", "ended", "resumed", "exploited", "tracked", "told"]
        event = draw(st.sampled_from(events))
        number = count if event == "started" else draw(st.integers(0, count - 1))
        facts: dict[str, Any] = {}
        rest: list[Any] = []
        if event == "started":
            count += 1
            rest = [draw(PARAMS), draw(st.sampled_from(["recipe", "random"]))]
        elif event == "looked":
            facts = {
                "look": draw(st.integers(1, 9)),
                "step": draw(st.integers(1, 100)),
                "metrics": draw(METRICS),
                "errors": draw(METRICS),
                "total_steps": 100,
                "seconds": draw(SECONDS),
            }
        elif event == "exploited":
            facts = {
                "generation": draw(st.integers(1, 5)),
                "donor": draw(st.integers(0, count - 1)),
                "step": draw(st.integers(1, 100)),
                "params": draw(PARAMS),
            }
        elif event == "ended":
            facts = {
                "state": draw(st.sampled_from([*ENDED, HALTED])),
                "reason": draw(st.none() | st.text(max_size=20)),
                **draw(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "final": METRICS,
                            "errors": METRICS,
                            "seeds": st.lists(METRICS, max_size=2),
                            "seconds": SECONDS,
                        },
                    )
                ),
            }
        elif event == "tracked":
            rest = [draw(st.text(min_size=1, max_size=8))]
        found.append((event, [number, *rest], facts))
    return found


def note(ledger: Ledger, calls: list[tuple[str, list[Any], dict[str, Any]]]) -> None:
    for name, arguments, facts in calls:
        getattr(ledger, name)(*arguments, **facts)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(notes(), st.integers(0, 25))
def test_what_is_noted_is_what_is_read_over_any_number_of_sessions(
    calls: list[tuple[str, list[Any], dict[str, Any]]], cut: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = f"{folder}/whole.jsonl", f"{folder}/deep/parts.jsonl"
        one = Ledger(whole)
        note(one, calls)
        note(Ledger(parts), calls[:cut])
        other = Ledger(parts)
        note(other, calls[cut:])
        expected = {number: asdict(trial) for number, trial in one.trials.items()}
        assert {number: asdict(trial) for number, trial in other.trials.items()} == expected
        for location in (whole, parts):
            assert [asdict(trial) for trial in read_trials(location)] == [
                trial for _, trial in sorted(expected.items())
            ]


@given(notes(), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_line_that_was_cut_short_is_as_if_it_never_was(
    calls: list[tuple[str, list[Any], dict[str, Any]]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trials.jsonl"
        ledger = Ledger(str(path))
        note(ledger, calls)
        ledger.started(99, {"a": 1}, "random")
        lines = path.read_bytes().splitlines(keepends=True)
        last = len(lines[-1])
        # Of a number of its own: how long a line is depends on the time in it.
        cut = 1 + data.draw(st.integers(0, 10_000)) % (last - 1)
        path.write_bytes(b"".join(lines)[:-cut])
        assert 99 not in {trial.number for trial in read_trials(str(path))}
        again = Ledger(str(path))
        again.started(100, {"a": 2}, "random")
        found = read_trials(str(path))
        assert [trial.number for trial in found][-1] == 100
        assert len(found) == len(ledger.trials)  # 99 is gone, 100 has come
        for line in path.read_text().splitlines():
            json.loads(line)


def look(step: int, **facts: Any) -> dict[str, Any]:
    given = {"metrics": {"eval/knn": step / 100}, "errors": {}, "total_steps": 90, "seconds": 1.0}
    return {"look": step // 10, "step": step, **given, **facts}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    found = Ledger(str(tmp_path / "trials.jsonl"))
    found.started(0, {"lr": 0.1}, "recipe")
    return found


def both(ledger: Ledger, tmp_path: Path) -> list[Trial]:
    """The first trial as it is in memory and as it is read."""
    return [ledger.trials[0], read_trials(str(tmp_path / "trials.jsonl"))[0]]


def test_a_trial_goes_through_its_states(ledger: Ledger, tmp_path: Path) -> None:
    ledger.started(1, {}, "optuna")
    ledger.started(2, {}, "optuna")
    assert [trial.number for trial in ledger.in_states(RUNNING)] == [0, 1, 2]
    ledger.ended(2, state=PRUNED, reason=None)
    ledger.ended(0, state=HALTED, reason=None)
    assert [trial.number for trial in ledger.in_states(RUNNING, HALTED)] == [0, 1]
    assert [trial.number for trial in ledger.in_states(*ENDED)] == [2]
    ledger.resumed(0)
    ledger.ended(0, state=FINISHED, reason=None, final={"loss": 1.0})
    for trial in both(ledger, tmp_path):
        assert (trial.state, trial.metrics) == (FINISHED, {"loss": 1.0})


def test_looks_are_told_until_the_end_is(ledger: Ledger, tmp_path: Path) -> None:
    for trial in both(ledger, tmp_path):
        assert (trial.step, trial.metrics, trial.metric_errors) == (0, {}, {})
    ledger.looked(0, **look(10, errors={"eval/knn": 0.5}))
    ledger.looked(0, **look(20, errors={"eval/knn": 0.25}))
    for trial in both(ledger, tmp_path):
        assert (trial.step, trial.total_steps) == (20, 90)
        assert trial.metrics == {"eval/knn": 0.2}
        assert trial.metric_errors == {"eval/knn": 0.25}
        assert [seen.params for seen in trial.looks] == [{"lr": 0.1}] * 2
    ledger.ended(0, state=FINISHED, reason=None, final={"eval/knn": 0.9}, errors={"eval/knn": 0.1})
    for trial in both(ledger, tmp_path):
        assert trial.metrics == {"eval/knn": 0.9}
        assert trial.metric_errors == {"eval/knn": 0.1}


def test_going_on_takes_the_end_back(ledger: Ledger, tmp_path: Path) -> None:
    ledger.looked(0, **look(10))
    ledger.tracked(0, "run")
    facts = {"final": {"loss": 1.0}, "errors": {"loss": 0.1}, "seeds": [{"loss": 1.0}]}
    ledger.ended(0, state=HALTED, reason="hours", seconds=5.0, **facts)
    ledger.told(0)
    assert [trial.told for trial in both(ledger, tmp_path)] == [True, True]
    ledger.resumed(0)
    for trial in both(ledger, tmp_path):
        assert (trial.state, trial.reason, trial.told) == (RUNNING, None, False)
        assert (trial.final, trial.errors, trial.seeds) == ({}, {}, [])
        assert (trial.step, trial.run_id, trial.seconds) == (10, "run", 5.0)


def test_an_exploit_drops_what_came_after_the_donors_step(ledger: Ledger, tmp_path: Path) -> None:
    for step in (10, 20, 30):
        ledger.looked(0, **look(step))
    ledger.exploited(0, generation=1, donor=4, step=20, params={"lr": 0.12})
    ledger.looked(0, **look(30))
    for trial in both(ledger, tmp_path):
        assert [seen.step for seen in trial.looks] == [10, 20, 30]
        assert [seen.params["lr"] for seen in trial.looks] == [0.1, 0.1, 0.12]
        assert (trial.generation, trial.params) == (1, {"lr": 0.12})
        assert trial.donors == [{"donor": 4, "step": 20, "params": {"lr": 0.12}}]


def test_seconds_of_a_trial_add_up_over_its_starts(ledger: Ledger, tmp_path: Path) -> None:
    ledger.looked(0, **look(10, seconds=4.0))
    ledger.looked(0, **look(20, seconds=9.0))
    ledger.resumed(0)  # after a kill
    assert [trial.seconds for trial in both(ledger, tmp_path)] == [9.0, 9.0]
    ledger.looked(0, **look(30, seconds=3.0))
    ledger.ended(0, state=PRUNED, reason=None)
    assert [trial.seconds for trial in both(ledger, tmp_path)] == [12.0, 12.0]
    ledger.resumed(0)
    ledger.ended(0, state=FINISHED, reason=None, seconds=2.5)
    assert [trial.seconds for trial in both(ledger, tmp_path)] == [14.5, 14.5]


class Clock:
    """The time that the ledger sees."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    monotonic = time


def test_hours_are_those_of_searching_over_pauses_and_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(ledger_module, "time", clock)
    location = str(tmp_path / "trials.jsonl")
    assert Ledger(location).searched_seconds == 0
    one = Ledger(location)
    one.begin()
    clock.now += 10
    one.started(0, {}, "recipe")
    clock.now += 5
    assert one.searched_seconds == 15
    one.pause()
    one.pause()
    clock.now += 1000  # nothing runs
    two = Ledger(location)
    assert two.searched_seconds == 15
    two.begin()
    clock.now += 7
    two.looked(0, **look(10))
    clock.now += 300  # killed, nobody knows when
    assert Ledger(location).searched_seconds == 22
    three = Ledger(location)
    three.begin()
    clock.now += 3
    three.looked(0, **look(20))
    clock.now += 300  # killed again
    four = Ledger(location)
    assert four.searched_seconds == 25
    four.begin()
    clock.now += 1
    four.pause()
    assert Ledger(location).searched_seconds == 26


def test_what_is_no_number_is_read_as_it_was(ledger: Ledger, tmp_path: Path) -> None:
    ledger.looked(0, **look(10, metrics={"eval/idest": math.nan, "loss": math.inf}))
    for trial in both(ledger, tmp_path):
        assert math.isnan(trial.metrics["eval/idest"])
        assert trial.metrics["loss"] == math.inf
