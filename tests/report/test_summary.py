"""The summary at the top: its words are true in each state of a run."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pipeline.report.facts import Ledger, RunFacts
from pipeline.report.sections.summary import summary_section
from tests.report.report_facts import ENTRY, RECORDS, RESULT, Page, facts, metrics, training

pytestmark = pytest.mark.fast

COLLAPSE = {
    "kind": "event",
    "event": "collapse",
    "step": 30,
    "message": "feature_rank fell to 1.1",
    "action": "tag",
}


def summary(run: RunFacts) -> str:
    return Page(str(summary_section(run).body)).words()


def test_a_finished_run_has_three_answers_and_figures() -> None:
    words = summary(facts())
    assert "The run has finished, after 100 steps." in words
    for question in (
        "Is it better than its floors?",
        "Did it collapse?",
        "What is wrong with the data?",
    ):
        assert question in words
    assert "Yes, clearly by the probe" in words  # 0.912 [0.9, 0.923] above 0.655 [0.63, 0.68]
    body = str(summary_section(facts()).body)
    assert body.count('role="img"') >= 1


def test_a_probe_that_is_not_above_its_floors_is_told() -> None:
    worse = {
        **RESULT,
        "probes": {"knn": 0.66, "knn_raw": 0.655, "knn_untrained": 0.4},
        "intervals": {"knn": [0.64, 0.68], "knn_raw": [0.63, 0.68], "knn_untrained": [0.38, 0.42]},
    }
    assert "Not clearly" in summary(facts(result=worse))
    below = {**worse, "probes": {**worse["probes"], "knn": 0.5}}
    below["intervals"] = {**worse["intervals"], "knn": [0.48, 0.52]}
    assert "below a floor" in summary(facts(result=below))


def test_without_labels_the_panel_is_told_and_how_far_it_goes() -> None:
    bare = {**RESULT, "probes": {}, "intervals": {}}
    records = [
        {**r, "metrics": {"eval/rankme": 13.5, "eval/uniformity": 2.0}, "intervals": {}}
        if r["kind"] == "evaluation"
        else r
        for r in RECORDS
    ]
    words = summary(facts(result=bare, records=records))
    assert "Not known" in words
    assert "without labels nothing says what the encoder is worth for a task" in words
    assert "RankMe" in words


def test_a_run_that_trains_stopped_or_never_began_says_so() -> None:
    until = [r for r in RECORDS if r["step"] <= 50]
    words = summary(facts(result=None, records=until, ledger=None, encoded="there are none yet."))
    assert "The run has not finished: 50 of 100 steps are in its journal" in words
    assert "What follows is what is known so far." in words
    assert "There is no ledger yet" in words
    stopped = summary(
        facts(result=None, records=until, failures=["data.max_bad_fraction: too many"])
    )
    assert "The run was stopped after 50 of 100 steps: data.max_bad_fraction: too many." in stopped
    never = summary(facts(result=None, records=[], ledger=None))
    assert "Training has not begun." in never
    assert "Not known yet" in never


def test_a_collapse_is_told_with_what_the_alarm_said() -> None:
    words = summary(facts(records=[*RECORDS, COLLAPSE]))
    assert "There were signs of it, first at step 30" in words
    assert "feature_rank fell to 1.1" in words
    silent = [training(0), *(metrics(s, loss=1, feature_rank=9.0) for s in range(10, 400, 10))]
    assert "No sign of it" in summary(facts(records=silent))


def test_samples_that_cannot_be_decoded_are_counted() -> None:
    assert "1 sample cannot be decoded" in summary(facts())
    three = Ledger(entries=[ENTRY], total=3)
    assert "3 samples cannot be decoded" in summary(facts(ledger=three))
    clean = {**RESULT, "samples": {**RESULT["samples"], "quarantined": 0}}
    words = summary(facts(result=clean, ledger=Ledger(entries=[], total=0)))
    assert "All that was read could be decoded" in words
    assert "Nothing weighed the run's pairs" in words


def test_figures_that_are_no_numbers_break_nothing() -> None:
    odd = {**RESULT, "probes": {"knn": math.nan}, "intervals": {"knn": [math.nan, math.nan]}}
    assert summary(replace(facts(), result=odd))
