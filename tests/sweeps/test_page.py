"""The page of a sweep: what it says, and that it says so whatever the trials are like."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

import pytest

from pipeline.sweeps.folder import SweepFolder
from pipeline.sweeps.ledger import (
    COLLAPSED,
    FAILED,
    FINISHED,
    HALTED,
    PRUNED,
    RUNNING,
)
from pipeline.sweeps.page.drawing import sample, span_of, spread, ticks
from pipeline.sweeps.page.facts import sweep_facts
from pipeline.sweeps.page.importance import importances
from pipeline.sweeps.page.page import SECTIONS
from pipeline.sweeps.page.texts import short_names, value_text
from pipeline.sweeps.page.writing import write_page
from pipeline.sweeps.spaces.scores import Score
from tests.report.report_facts import Page
from tests.sweeps.page_trials import (
    BEST,
    HEAD,
    KIND,
    MOMENTUM,
    SCRIPT,
    SMALL,
    SPACE,
    TEMPERATURE,
    drawn,
    html,
    numbers,
    page,
    recipe,
    trial,
    usual_html,
    usual_page,
    usual_trials,
)

pytestmark = pytest.mark.fast


def test_the_page_has_its_sections_and_refers_to_nothing_outside_it() -> None:
    of_others = 2  # no second score, no population
    assert len(usual_page().text) - 1 == len(SECTIONS) - of_others
    assert [*usual_page().text][1:] == [
        "trials",
        "history",
        "curves",
        "parallel",
        "importance",
        "temperatures",
        "settings",
        "recipe",
    ]


def test_the_same_trials_make_the_same_bytes_whatever_their_order() -> None:
    assert html(usual_trials()[::-1], recipe()) == usual_html()


def test_the_page_lies_in_the_folder_of_the_sweep(tmp_path: Path) -> None:
    folder = SweepFolder(str(tmp_path / "sweep-1"))
    assert write_page(recipe(), folder, []) == folder.page
    assert "sweep-1" in Page(Path(folder.page).read_text()).words()


def test_the_heading_counts_states_and_says_what_is_optimised() -> None:
    states = [FINISHED, FINISHED, PRUNED, RUNNING, COLLAPSED, HALTED]
    trials = [trial(number, state=state) for number, state in enumerate(states)]
    top = page(trials, recipe(SMALL, trials=9)).words()
    assert "6 of at most 9 begun: 2 finished, 1 pruned, 1 running, 1 collapsed, 1 halted" in top
    assert "linear (more is better)" in top
    more = {"eval/idest": 5.0}
    top = page([trial(0, more=more)], recipe(SMALL, optimize="idest")).words()
    assert "idest (less is better). Caveat: less is better by" in top


def test_the_best_so_far_has_its_settings_and_its_error_of_seeds() -> None:
    trials = [trial(0, 0.5), trial(1, 0.75, errors={"eval/linear": 0.0125}), trial(2, 0.6)]
    found = page(trials, recipe(SMALL, seeds=3))
    assert "trial 1: linear 0.75 ± 0.013 on held-out samples" in found.words()
    assert f"{TEMPERATURE}: 0.1" in found.words()
    assert "means of 3 seeds" in found.words("trials")


def test_a_trial_that_still_runs_is_the_best_only_while_none_has_finished() -> None:
    running = trial(0, 0.9, state=RUNNING)
    assert "trial 0 (running at step 300)" in page([running]).words()
    assert "trial 1: linear 0.2" in page([running, trial(1, 0.2)]).words()


def test_after_the_end_the_heading_tells_the_test_scores_and_the_model() -> None:
    top = page([trial(3)], best=BEST).words()
    assert "on test linear 0.8765 ± 0.0021, knn 0.85" in top
    assert "in the search linear 0.9 ± 0.01" in top
    assert "models:/encoder/7" in top
    assert "3 runs" in top
    assert "raw" not in top
    unlabelled = page([trial(3)], best={**BEST, "test": None, "model": None}).words()
    assert "no labelled test set" in unlabelled
    assert "registered model none" in unlabelled


def test_failures_stand_in_a_banner_five_of_them() -> None:
    failed = [trial(n, None, state=FAILED, looks=0, reason=f"fault {n}") for n in range(8)]
    top = page(failed).words()
    assert "8 trials failed" in top
    assert "trial 4: fault 4" in top
    assert "fault 5" not in top
    assert "… and 3 more" in top
    assert 'class="banner"' not in usual_html()


def test_what_trials_say_cannot_become_html() -> None:
    space = {**SMALL, HEAD: {"choice": [SCRIPT, "b"]}, f"x.{SCRIPT}": {"choice": [1, 2]}}
    bad = {HEAD: SCRIPT, f"x.{SCRIPT}": 2, TEMPERATURE: 0.5}
    reason = f"{SCRIPT}\n\x00\udc80\x1b[0m" + "long " * 1000
    trials = [
        trial(0, params=bad),
        trial(1, 0.7, params={**bad, HEAD: "b"}),
        trial(2, None, state=FAILED, reason=reason, looks=0, origin=SCRIPT),
    ]
    best = {**BEST, "params": bad, "encoder": SCRIPT}
    for told in (None, best):
        found = page(trials, recipe(space), name=SCRIPT, best=told)
        assert SCRIPT in found.words()
    text = html(trials, recipe(space))
    assert "<script" not in text
    assert "\x00" not in text
    text.encode()


def test_the_table_has_the_best_first_and_those_without_scores_last() -> None:
    trials = [
        trial(0, None, state=FAILED, looks=0, reason="out of memory"),
        trial(1, 0.3),
        trial(2, 0.9, state=PRUNED),
        trial(3, 0.8),
        trial(4, math.nan),
        trial(5, 0.95, state=COLLAPSED),
        trial(6, 0.5, state=RUNNING),
    ]
    assert numbers(html(trials)) == [3, 1, 2, 6, 5, 0, 4]
    found = page(trials).words("trials")
    assert "failed" in found
    assert "out of memory" in found
    assert "3 0.8 finished 0.1 300 / 300 0.5 optuna" in found


def test_less_may_be_better_and_scores_stand_as_they_are() -> None:
    trials = [trial(n, None, more={"eval/idest": value}) for n, value in enumerate((8.0, 3.0, 5.0))]
    of = recipe(SMALL, optimize="idest")
    assert numbers(html(trials, of)) == [1, 2, 0]
    found = page(trials, of)
    assert "idest (less is better) of 3 finished trials over their numbers; the best 3" in (
        found.labels
    )
    assert "-3" not in found.words("trials")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_trials_make_a_small_page(count: int) -> None:
    found = page([trial(number) for number in range(count)], recipe(SMALL))
    assert f"{count} of at most 20 begun" in found.words()
    assert ("No trial has begun" in found.words("trials")) == (count == 0)
    assert f"there {'is 1' if count == 1 else f'are {count}'}." in found.words("importance")
    assert ("parallel" in found.text) == (count > 0)


def test_trials_without_looks_or_with_values_that_are_no_numbers_are_left_out() -> None:
    trials = [
        trial(0, None, state=RUNNING, looks=0, total_steps=None),
        trial(1, 0.4, looks=0),
        trial(2, math.nan),
        trial(3, math.inf, state=PRUNED),
        trial(4, 0.5),
        trial(5, 0.6, errors={"eval/linear": math.nan}),
    ]
    found = page(trials)
    assert "trial 5: linear 0.6 on" in found.words()
    assert "of 3 finished trials" in next(la for la in found.labels if "over their numbers" in la)
    assert "nan" not in found.words("trials")
    nothing = page(trials[:1])
    assert "No trial has finished" in nothing.words("history")
    assert "No trial was looked at" in nothing.words("curves")


def test_values_far_out_do_not_make_one_line_of_the_others() -> None:
    trials = [trial(n, 0.5 + n / 100) for n in range(20)] + [trial(20, -1e30)]
    found = page(trials)
    assert "Drawn on the edge, and beyond it: 1." in found.words("history")
    low, high = span_of([0.1, 0.2] * 10 + [1e9])
    assert low < 0.1
    assert high < 1
    assert span_of([0.1] * 20 + [0.11, 9.0], keep=[9.0])[1] > 9
    assert span_of([2.0]) == pytest.approx((1.92, 2.08))
    assert span_of([]) == (-1.0, 1.0)


def test_settings_that_some_trials_lack_have_a_place_of_their_own() -> None:
    found = usual_page()
    assert "Lines below an axis: trials that lack the setting" in found.words("parallel")
    (picture,) = (la for la in found.labels if "one line each" in la)
    assert "6 axes: temperature, learning_rate, head, objective.kind, momentum, linear" in picture
    assert "[512, 512, 128]" in found.words("trials")


def test_importance_finds_what_the_score_depends_on() -> None:
    facts = sweep_facts(recipe(), "s", usual_trials(), best=None)
    paths = [path for path in SPACE if path != MOMENTUM]
    found = importances(facts.finished, facts.config.space, paths, Score.linear)
    assert isinstance(found, dict)
    assert next(iter(found)) == TEMPERATURE
    assert found[TEMPERATURE] > 0.5
    assert 0 < sum(found.values()) <= 1
    told = usual_page().words("importance")
    assert "about this space only" in told
    assert f"of trials with {KIND} moco" in told


def test_importance_says_why_there_is_none() -> None:
    of = recipe(SMALL)
    same = [trial(n, n / 10) for n in range(9)]
    assert "have the same settings" in page(same, of).words("importance")
    alike = [trial(n, 0.5, params={TEMPERATURE: 0.1 + n / 100}) for n in range(9)]
    assert "have the same score" in page(alike, of).words("importance")
    assert "It takes 8 finished" in page(alike[:7], of).words("importance")


def test_temperatures_have_curves_of_score_uniformity_and_tolerance() -> None:
    found = usual_page()
    for what in ("linear", "uniformity", "tolerance"):
        assert f"{what} over temperature" in found.words("temperatures")
    for name in ("learning_rate", "head", "objective.kind", "momentum"):
        assert f"linear over {name}" in found.words("settings")
    start = "pairs.temperature.start"
    trials = [trial(0, params={start: 0.1}), trial(1, params={start: 0.4})]
    found = page(trials, recipe({start: {"uniform": [0.1, 0.5]}}))
    assert "linear over temperature.start" in found.words("temperatures")
    assert "uniformity over" not in found.words("temperatures")
    assert "settings" not in found.text


def test_two_scores_have_a_front_and_its_table() -> None:
    pairs = [(0.9, 10.0), (0.8, 20.0), (0.7, 15.0), (0.5, 30.0), (0.95, math.nan)]
    trials = [trial(n, a, more={"eval/rankme": b}) for n, (a, b) in enumerate(pairs)]
    of = recipe(SMALL, optimize=["linear", "rankme"])
    assert numbers(html(trials, of), "pareto") == [0, 1, 3]
    found = page(trials, of)
    assert "rankme (more is better) over linear (more is better)" in " ".join(found.labels)
    assert "noise has the highest rank" in found.words()
    assert "No trial has finished" in page([], of).words("pareto")


def test_a_population_shows_its_settings_over_steps_and_who_went_on_from_whom() -> None:
    of = recipe({**SMALL, HEAD: SPACE[HEAD]}, scheduler="pbt")
    members = [trial(n, 0.3 + n / 10, params={TEMPERATURE: 0.1, HEAD: None}) for n in range(4)]
    members[0].donors.append(
        {"donor": 3, "step": 200, "params": {TEMPERATURE: 0.12, HEAD: [2048, 128]}}
    )
    found = page(members, of)
    assert "4 members, 1 exploit." in found.words("population")
    assert "temperature of 4 members over steps" in found.labels
    assert "head of 4 members over steps" in found.labels
    begun = [trial(0, None, state=RUNNING, looks=0)]
    assert "No member was looked at" in page(begun, of).words("population")


def test_the_space_and_the_recipe_can_be_read() -> None:
    told = usual_page().words("recipe")
    assert f"{TEMPERATURE}: log_uniform: [0.02, 1.0]" in told
    assert "when: {objective.kind: moco}" in told
    assert "global_batch: 64" in told


def test_thousands_of_trials_make_a_page_that_can_be_opened() -> None:
    rng = random.Random(1)
    states = [FINISHED, PRUNED, FAILED, COLLAPSED]
    trials = [
        drawn(number, rng, state=states[number % 4], reason="x" * 5000 if number % 4 > 1 else None)
        for number in range(5000)
    ]
    begun = time.monotonic()
    text = html(trials, recipe(optimize=["linear", "rankme"], trials=5000))
    assert time.monotonic() - begun < 30  # some three, where nothing else runs
    assert len(text.encode()) < 2_000_000
    assert len(numbers(text)) == 200
    found = Page(text)
    assert "4,800 more trials in trials.jsonl" in found.words("trials")
    assert "160 of 5,000 trials: the best 80" in found.words("curves")


def test_names_are_as_short_as_they_can_be() -> None:
    paths = ["objective.temperature", "pairs.miner.temperature", "objective.kind", "a.lr.start"]
    assert [*short_names(paths).values()] == [
        "objective.temperature",
        "miner.temperature",
        "objective.kind",
        "lr.start",
    ]
    assert value_text([1, "é"]) == '[1, "é"]'
    assert value_text(None) == "null"
    assert value_text(0.000123456) == "0.0001235"
    assert len(value_text("x" * 100)) == 40


def test_ticks_are_round_numbers_within_the_span() -> None:
    assert ticks((0.02, 1.0), log=True) == [0.03, 0.1, 0.3, 1.0]
    assert ticks((2.1e-4, 2.8e-4), log=True) == [2.1e-4, 2.8e-4]
    assert all(0.9 <= tick <= 0.999 for tick in ticks((0.9, 0.999)))
    assert len(ticks((1e-9, 1e3), log=True)) <= 5
    assert spread(range(10), 3) == [0, 3, 6]
    assert sample(range(100), 6) == [0, 1, 2, 3, 35, 67]
