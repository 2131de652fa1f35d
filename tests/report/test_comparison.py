"""A run beside another: what differs clearly, what does not, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.errors import UserError
from pipeline.report.facts import RunRecord
from pipeline.report.sections.comparison import comparison_section
from tests.report.report_facts import RECORDS, RESULT, SCRIPT, Page, facts

pytestmark = pytest.mark.fast


def other(**changes: Any) -> RunRecord:
    usual: dict[str, Any] = {
        "name": "byol-resnet18-4567cdef",
        "identity": {"objective.kind": "byol", "data fingerprint": "f1" * 32},
        "records": RECORDS,
        "recipe_yaml": "seed: 1\nobjective: {kind: byol}\n",
        "result": {
            **RESULT,
            "probes": {"knn": 0.8, "linear_last_layers": 0.93},
            "intervals": {"knn": [0.79, 0.81], "linear_last_layers": [0.915, 0.94]},
        },
    }
    return RunRecord(**{**usual, **changes})


def words(against: RunRecord) -> str:
    section = comparison_section(facts(against=against))
    assert section is not None
    return Page(str(section.body)).words()


def test_a_run_alone_is_compared_with_none() -> None:
    assert comparison_section(facts()) is None


def test_differences_are_told_as_far_as_intervals_allow() -> None:
    told = words(other())
    assert "this run is clearly higher" in told  # 0.912 [0.9, 0.923], 0.8 [0.79, 0.81]
    assert "no clear difference: the intervals overlap" in told
    assert "Their objectives differ" in told
    assert "objective.kind" in told
    assert "seed" in told


def test_runs_of_other_data_or_with_a_broken_recipe_are_told() -> None:
    elsewhere = other(identity={"objective.kind": "simclr", "data fingerprint": "00"})
    assert "They were trained on different data" in words(elsewhere)
    assert "the other run's recipe is no YAML." in words(other(recipe_yaml="a: [\n"))
    assert words(other(result=None, records=[]))


def test_what_the_other_says_of_itself_is_text() -> None:
    section = comparison_section(
        facts(against=other(name=SCRIPT, recipe_yaml=f"seed: '{SCRIPT}'\n"))
    )
    assert section is not None
    assert "<script" not in str(section.body)


def test_what_is_no_other_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        pipeline.draw_report(tmp_path / "none", against=tmp_path / "nor this")
    assert len(error.value.problems) == 2
    assert "is not the folder of a run" in str(error.value)
