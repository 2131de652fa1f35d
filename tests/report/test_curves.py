"""The curves in a run's report."""

from __future__ import annotations

import math
import re

import pytest

from pipeline.report.drawing.charts import Line, line_chart, thinned
from pipeline.report.facts import Series
from pipeline.report.sections.curves import curves_section
from tests.report.report_facts import (
    COLLAPSE_METRICS,
    RECORDS,
    metrics,
    part,
    top,
    training,
    usual_page,
)

pytestmark = pytest.mark.fast


def test_a_run_that_met_values_that_are_not_finite_says_so() -> None:
    event = {"kind": "event", "event": "not finite", "step": 55, "sample_ids": [1, 2]}
    found = top(records=[*RECORDS, event])
    assert "step 55: the loss or its gradient was not finite" in found


def test_curves_tell_the_journal_and_where_training_was_taken_up_again() -> None:
    found = usual_page()
    curves = found.words("curves")
    for title in ("Loss", "Learning rate", "Gradient norm"):
        assert title in curves
    speed = found.words("throughput")
    for told in ("Speed", "Waiting for data", "images/s", "% of the time", "step"):
        assert told in speed
    assert "25.0% of the time, on average" in speed
    assert "taken up again, at step 40." in curves
    assert "Loss over steps; value 2 at the end" in found.labels
    assert "Waiting for data over steps; value 25 at the end" in found.labels
    assert "The objective's own figures Temperature" in curves
    assert not {"epoch", "quarantined"} & set(curves.split())


def test_collapse_statistics_are_drawn_where_there_are_any() -> None:
    without = usual_page().words("curves")
    values = dict.fromkeys(COLLAPSE_METRICS, 0.5)
    records = [training(0), *(metrics(s, loss=1, **values) for s in (10, 20))]
    with_them = part(curves_section, records=records).words()
    for title in ("Spread of a batch", "Effective rank of a batch", "Deviation of a batch"):
        assert title not in without
        assert title in with_them
    assert with_them.count("projections") == 3
    assert "own figures" not in with_them


def test_what_pairs_do_is_drawn_with_its_scale() -> None:
    values = {"alignment": 0.5, "uniformity": 2.5, "negative_entropy": 0.9, "false_negatives": 0.1}
    records = [training(0), *(metrics(s, loss=1, **values) for s in (10, 20))]
    found = part(curves_section, records=records)
    for title in ("Distance of pairs", "Uniformity of projections", "Negatives"):
        assert title in found.words()
    assert (
        "Negatives over steps; entropy of their weights 90 at the end, as near as the pair 10 at "
        "the end"
    ) in found.labels
    assert "own figures" not in found.words()


CODES = {
    "reconstruction": 250.0,
    "log_posterior": 180.5,
    "log_prior": -60.25,
    "log_scale": -4.5,
    "contrast": 0.25,
    "contrast_push": 2.5,
    "temperature": 0.125,
    "model_samples": -2500.0,
}


def test_figures_of_codes_are_drawn_with_what_they_mean() -> None:
    """Of a run with one view, which has no pairs."""
    records = [training(0), *(metrics(s, loss=1, **CODES) for s in (10, 20))]
    found = part(curves_section, records=records)
    _, _, own = found.words().partition("The objective's own figures ")
    for title, about in {
        "Temperature": "",
        "Reconstruction": "Even a perfect decoder's is not 0.",
        "Log-densities of codes": "it grows as posteriors get narrow",
        "Log-scale of posteriors": "at log_scale_least they can get no narrower",
        "Contrast of codes": "at 0.69, log 2, all are alike",
        "Push of the contrast": "at 0 it changes nothing",
        "The model's own samples": "0 until the warm-up is over",
    }.items():
        assert title in own
        assert about in own
    assert (
        "Log-densities of codes over steps; posterior 180.5 at the end, prior -60.25 at the end"
        in found.labels
    )
    assert found.tags.count("svg") == 1 + len(CODES) - 1  # the loss; two are in one chart
    for pairs in ("Distance of pairs", "Uniformity of projections", "Negatives"):
        assert pairs not in found.words()


def test_figures_of_a_composite_s_parts_have_their_part_in_the_title() -> None:
    values = {"cmim/log_scale": -4.5, "simclr/temperature": 0.5, "simclr/novelty": 1.0}
    records = [training(0), *(metrics(s, loss=1, **values) for s in (10, 20))]
    found = part(curves_section, records=records)
    for title in ("Log-scale of posteriors, cmim", "Temperature, simclr", "simclr/novelty"):
        assert title in found.words()
    assert found.tags.count("svg") == 4


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_told_and_left_out_of_the_line(bad: float) -> None:
    losses = {10: 3.0, 20: bad, 30: bad, 40: 2.0}
    records = [training(0), *(metrics(s, loss=v) for s, v in losses.items())]
    found = part(curves_section, records=records).words()
    assert "2 values not finite, first at step 20" in found
    only = part(curves_section, records=[metrics(10, loss=bad)]).words()
    assert "1 value not finite, first at step 10" in only


def test_a_long_curve_is_thinned_but_keeps_its_extremes() -> None:
    values = [1.0] * 100_000
    values[51_234], values[60_000], values[70_000] = 99.0, -5.0, math.nan
    short = thinned(Series(steps=[*range(100_000)], values=values), points=500)
    assert len(short.steps) <= 500
    assert short.steps == sorted(short.steps)
    assert (max(short.values), min(short.values)) == (99.0, -5.0)
    same = Series(steps=[1, 2], values=[3.0, 4.0])
    assert thinned(same) is same


def test_charts_take_colours_from_the_page() -> None:
    series = Series(steps=[1, 2, 3], values=[1.0, 2.0, 3.0])
    svg = line_chart([Line(series=series, label="features")] * 2, ylabel="y", alt="a", marks=[2])
    assert "var(--series-1)" in svg
    assert "var(--series-2)" in svg
    assert "currentColor" in svg
    written = set(re.findall(r"#[0-9a-fA-F]{6}\b", svg))
    assert written == set()


def test_ticks_carry_their_whole_number() -> None:
    series = Series(steps=[1, 2, 3], values=[1e-5, 2e-5, 3e-5])
    svg = line_chart([Line(series=series)], ylabel="learning rate", alt="a")
    ticks = [float(text) for text in re.findall(r">([\d.e+-]+)</text>", svg)]
    small = [tick for tick in ticks if tick not in (1, 2, 3)]
    assert len(small) >= 2
    assert all(1e-5 <= tick <= 3e-5 for tick in small)
