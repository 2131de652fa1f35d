"""The journal: whole lines, each once, whatever was cut short."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.registry.journal import Journal, JournalTail, last_step, records

pytestmark = pytest.mark.fast

METRICS = st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=3)


def steps_in(path: Path) -> list[int]:
    return [record["step"] for record in records(str(path)) if record["kind"] == "metrics"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_a_journal_that_does_not_exist_has_no_records(path: Path) -> None:
    assert list(records(str(path))) == []
    assert JournalTail(str(path)).read() == []
    assert last_step(str(path)) == -1


def test_metrics_and_events_come_back_as_they_were_noted(path: Path) -> None:
    journal = Journal(str(path))
    journal.event("training", step=0, workers=[{"rank": 0, "pid": 7}])
    assert journal.metrics(1, {"loss": 0.1 + 0.2, "né\n": -0.0})
    event, metrics = (
        {key: value for key, value in record.items() if key != "time"}
        for record in records(str(path))
    )
    assert event == {
        "kind": "event",
        "event": "training",
        "step": 0,
        "workers": [{"rank": 0, "pid": 7}],
    }
    assert metrics == {"kind": "metrics", "step": 1, "metrics": {"loss": 0.1 + 0.2, "né\n": -0.0}}


def test_a_step_is_noted_once_even_after_reopening(path: Path) -> None:
    first = Journal(str(path))
    assert [first.metrics(step, {"loss": 1.0}) for step in (1, 2, 2, 1, 5)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    resumed = Journal(str(path))
    resumed.event("training", step=1)
    assert [resumed.metrics(step, {"loss": 2.0}) for step in (2, 3, 5, 6)] == [
        False,
        False,
        False,
        True,
    ]
    assert steps_in(path) == [1, 2, 5, 6]
    assert last_step(str(path)) == 6


def test_events_do_not_count_as_steps(path: Path) -> None:
    journal = Journal(str(path))
    journal.event("training", step=100)
    assert last_step(str(path)) == -1
    assert journal.metrics(1, {})


def test_a_line_cut_anywhere_is_dropped_on_reopening(path: Path) -> None:
    journal = Journal(str(path))
    journal.metrics(1, {"loss": 1.0})
    whole = path.read_bytes()
    journal.metrics(2, {"loss": 2.0})
    torn = path.read_bytes()[len(whole) : -1]
    for length in range(len(torn) + 1):
        path.write_bytes(whole + torn[:length])
        resumed = Journal(str(path))
        assert path.read_bytes() == whole
        assert resumed.metrics(2, {"loss": 3.0})
        assert steps_in(path) == [1, 2]
        assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_journal_that_is_one_torn_line_is_emptied(path: Path) -> None:
    path.write_bytes(b'{"time": 1, "kind": "met')
    assert Journal(str(path)).metrics(1, {})
    assert steps_in(path) == [1]


def test_numpy_scalars_become_plain_floats(path: Path) -> None:
    noted = {"a": np.float32(0.1), "b": np.int64(3), "c": np.array(2.5), "d": 7, "e": np.True_}
    Journal(str(path)).metrics(1, noted)
    (record,) = records(str(path))
    assert {type(value) for value in record["metrics"].values()} == {float}
    assert record["metrics"] == {
        "a": float(np.float32(0.1)),
        "b": 3.0,
        "c": 2.5,
        "d": 7.0,
        "e": 1.0,
    }


def test_numbers_that_are_not_finite_survive(path: Path) -> None:
    Journal(str(path)).metrics(1, {"nan": math.nan, "inf": math.inf, "low": -math.inf})
    (record,) = records(str(path))
    assert math.isnan(record["metrics"]["nan"])
    assert (record["metrics"]["inf"], record["metrics"]["low"]) == (math.inf, -math.inf)


def test_a_tail_that_was_open_before_a_crash_reads_on_after_it(path: Path) -> None:
    Journal(str(path)).metrics(1, {})
    tail = JournalTail(str(path))
    with path.open("ab") as file:
        file.write(b'{"kind": "metrics", "step": 2, "metr')
    assert [record["step"] for record in tail.read()] == [1]
    Journal(str(path)).metrics(3, {})
    assert [record["step"] for record in tail.read()] == [3]
    assert tail.read() == []


@settings(deadline=None, max_examples=60)
@given(
    metrics=st.lists(METRICS, max_size=5),
    shares=st.lists(st.floats(0, 1), max_size=12).map(sorted),
)
def test_a_tail_hands_over_each_whole_line_once(
    metrics: list[dict[str, float]], shares: list[float]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, path = Path(folder) / "source", Path(folder) / "journal"
        journal = Journal(str(source))
        for step, values in enumerate(metrics):
            journal.metrics(step, values)
        text = source.read_bytes() if metrics else b""
        cuts = [round(share * len(text)) for share in shares]
        tail = JournalTail(str(path))
        handed = []
        for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True):
            with path.open("ab") as file:
                file.write(text[start:stop])
            handed += tail.read()
            assert len(handed) == text[:stop].count(b"\n")
        assert [record["step"] for record in handed] == list(range(len(metrics)))
        assert [record["metrics"] for record in handed] == metrics
