"""The report of a run: what the page says, and that it says so anywhere."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.registry.report.curves import curves_section
from pipeline.registry.report.drawing import Line, line_chart, thinned
from pipeline.registry.report.facts import FirstViews, Ledger, Series
from pipeline.registry.report.page import SECTIONS, render_page
from pipeline.registry.report.panel import MEASURES, panel_section
from pipeline.registry.report.probes import probes_section, scored_probes
from pipeline.registry.report.samples import samples_section
from pipeline.registry.report.views import views_grid, views_section
from tests.registry.report_facts import (
    COLLAPSE_METRICS,
    ENTRY,
    RECORDS,
    RESULT,
    SCRIPT,
    Page,
    facts,
    first_views,
    metrics,
    part,
    top,
    training,
    usual_html,
    usual_page,
)

pytestmark = pytest.mark.fast


def test_the_page_has_every_section_and_refers_to_nothing_outside_it() -> None:
    found = usual_page()
    of_others = 2 + 3 + 1  # this run masks nothing, has no autoencoder, and weighs no pairs
    assert len(SECTIONS) - of_others == len(found.text) - 1
    assert list(found.text)[1:] == ["curves", "probes", "panel", "views", "samples", "recipe"]
    assert found.references
    assert [r for r in found.references if not r.startswith(("#", "data:"))] == []
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert not re.search(r"url\((?!#)|@import", usual_html())


def test_the_same_facts_make_the_same_bytes() -> None:
    assert render_page(facts()) == usual_html()


def test_the_heading_says_which_run_this_is_and_that_it_has_finished() -> None:
    found = top()
    for told in ("simclr-resnet18-0123abcd", "simclr", "resnet18", "f1" * 32, "models:/encoder/3"):
        assert told in found
    assert "finished: 100 steps (4 epochs)" in found
    assert "not finished" not in found
    assert 'class="banner"' not in usual_html()


def test_signs_of_collapse_stand_in_a_banner() -> None:
    events = [
        {"kind": "event", "event": "collapse", "step": step, "message": f"rank is {step} & falls"}
        for step in (20, 30, 40, 50, 60, 70, 80)
    ]
    found = top(records=[*RECORDS, *events])
    assert "Signs of collapse" in found
    assert "step 20: rank is 20 & falls" in found
    assert "2 more" in found


def test_a_run_that_met_values_that_are_not_finite_says_so() -> None:
    event = {"kind": "event", "event": "not finite", "step": 55, "sample_ids": [1, 2]}
    found = top(records=[*RECORDS, event])
    assert "step 55: the loss or its gradient was not finite" in found


def test_curves_tell_the_journal_and_where_training_was_taken_up_again() -> None:
    found = usual_page()
    curves = found.words("curves")
    for title in ("Loss", "Learning rate", "Gradient norm", "Speed", "Waiting for data"):
        assert title in curves
    for unit in ("images/s", "% of the time", "step"):
        assert unit in curves
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


def test_probes_stand_beside_their_floors() -> None:
    found = usual_page()
    probes = found.words("probes")
    assert "0.912 [0.900, 0.923] 0.401 [0.380, 0.420] 0.655 [0.630, 0.680]" in probes
    assert "linear (logistic regression), last layers 0.934 [0.921, 0.945] – –" in probes
    assert "clearly above its floors" in probes
    (picture,) = (label for label in found.labels if label.startswith("Probe scores"))
    assert "knn untrained 0.401" in picture
    assert any("over steps; 0.750 at the end" in label for label in found.labels)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ([0.9, 0.95], "clearly above its floors"),
        ([0.6, 0.75], "not clearly above raw pixels"),
        ([0.3, 0.45], "below raw pixels"),
        ([0.1, 0.2], "below untrained and raw pixels"),
    ],
)
def test_the_verdict_follows_from_the_intervals(interval: list[float], verdict: str) -> None:
    intervals = {"knn": interval, "knn_untrained": [0.4, 0.5], "knn_raw": [0.6, 0.7]}
    scores = {name: sum(ends) / 2 for name, ends in intervals.items()}
    (probe,) = scored_probes(scores, intervals)
    assert probe.verdict == verdict


def test_without_intervals_there_is_no_verdict() -> None:
    (probe,) = scored_probes({"knn": 0.9, "knn_raw": 0.5}, {})
    assert probe.verdict == ""
    result = {k: v for k, v in RESULT.items() if k not in ("intervals", "panel")}
    assert "0.912 0.401 0.655" in part(probes_section, result=result).words()


def test_a_run_without_probes_says_that_nothing_was_probed() -> None:
    result = {**RESULT, "probes": {}, "intervals": {}, "panel": {}}
    records = [r for r in RECORDS if r["kind"] != "evaluation"]
    probes = part(probes_section, result=result, records=records)
    assert "the recipe has no evaluate section" in probes.words()
    panel = part(panel_section, result=result, records=records)
    assert "No evaluation has measured" in panel.words()


def test_the_panel_tells_each_value_and_what_it_means() -> None:
    panel = usual_page().words("panel")
    assert "only between runs of one method on the same data" in panel
    for name, value in {"rankme": "13.5", "alpha_req": "not a number"}.items():
        assert f"{MEASURES[name].title} {value} {MEASURES[name].what}" in panel
        assert MEASURES[name].healthy in panel
    assert "While training" in panel


def test_an_unknown_measure_is_shown_by_its_name() -> None:
    found = part(panel_section, result={**RESULT, "panel": {"novelty": 1.5}})
    assert "novelty 1.5" in found.words()


def test_all_views_of_all_samples_are_in_one_picture() -> None:
    views = first_views()
    found = usual_page()
    (source,) = (r for r in found.references if r.startswith("data:image/png;base64,"))
    picture = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert np.array_equal(np.asarray(picture), views_grid(views))
    # Enlarged by whole pixels, so taking every other one gives back the views.
    opaque = np.asarray(picture)[::2, ::2]
    assert np.array_equal(opaque[:32, :32, :3], views.blocks[0][0, 0])
    assert np.array_equal(opaque[34:66, :32, :3], views.blocks[0][0, 1])
    assert np.array_equal(opaque[68:84, :16, :3], views.blocks[1][0, 0])
    assert np.array_equal(opaque[68:84, 18:34, :3], views.blocks[1][0, 1])
    assert "Sample ids: 100, 101," in found.words("views")
    assert "2 views of 32 × 32 pixels, and below them 3 local views of 16 × 16" in found.words(
        "views"
    )


def test_large_views_are_reduced() -> None:
    pixels = np.full((12, 2, 224, 224, 3), 7, np.uint8)
    height, width, _ = views_grid(FirstViews(sample_ids=[*range(12)], blocks=(pixels,))).shape
    assert (height, width) == (2 * (2 * 128 + 4) + 16, 6 * 128 + 5 * 16)


def test_views_that_cannot_be_drawn_cost_nothing_but_their_section() -> None:
    found = part(views_section, views="the shards have moved")
    assert "cannot be drawn: the shards have moved" in found.words()
    assert "img" not in found.tags


def test_samples_are_accounted_for_and_the_ledger_is_shown() -> None:
    samples = part(samples_section, ledger=Ledger(entries=[ENTRY] * 50, total=1234)).words()
    for told in ("planned 10,123", "served 9,600", "quarantined 3", "dropped 520"):
        assert told in samples
    assert "77 train-000001.tar photo-77 4096 1 cannot be decoded" in samples
    assert "1,234 in all, of which the first 50 are shown" in samples
    empty = part(samples_section, ledger=Ledger(entries=[], total=0))
    assert "None: every sample" in empty.words()
    assert "There is no ledger yet" in part(samples_section, ledger=None).words()


def test_what_comes_from_data_is_text_and_never_markup() -> None:
    events = [{"kind": "event", "event": "collapse", "step": 1, "message": SCRIPT}]
    odd = metrics(110, **{SCRIPT: 1.0, "$\\frac{1}{0}$": 2.0})
    html = render_page(
        facts(
            name=SCRIPT,
            identity={"objective.kind": SCRIPT, "encoder.name": SCRIPT, "data fingerprint": SCRIPT},
            records=[*RECORDS, *events, odd],
            recipe_yaml=SCRIPT,
            views=SCRIPT,
            result={**RESULT, "panel": {SCRIPT: 1.0}, "probes": {SCRIPT: 0.5}},
            failures=[SCRIPT],
            ledger=Ledger(
                entries=[{**ENTRY, "key": SCRIPT, "shard": SCRIPT, "error": SCRIPT}], total=1
            ),
        )
    )
    found = Page(html)
    assert "<script" not in html
    assert "script" not in found.tags
    for section in ("", "curves", "probes", "panel", "views", "samples", "recipe"):
        assert SCRIPT in found.words(section)


def test_a_run_that_trains_tells_how_far_it_is() -> None:
    until_50 = [r for r in RECORDS if r["step"] <= 50]
    found = Page(render_page(facts(result=None, ledger=None, records=until_50)))
    assert "not finished: 50 of 100 steps (2 epochs)" in found.words("")
    assert "Of the evaluation at step 50; the run is not finished." in found.words("probes")
    assert "0.625 [0.575, 0.675]" in found.words("probes")
    assert "RankMe 12.25" in found.words("panel")
    assert "made when the run ends" in found.words("samples")


@pytest.mark.parametrize("records", [[], [training(0)]])
def test_a_run_that_has_hardly_begun_has_a_page_too(records: list[Mapping[str, Any]]) -> None:
    found = Page(render_page(facts(result=None, ledger=None, records=records)))
    state = "not finished: 0 of 100 steps" if records else "not started"
    assert state in found.words("")
    assert "no metrics yet" in found.words("curves")
    assert "No probe was run so far" in found.words("probes")


def test_why_a_run_was_stopped_is_told() -> None:
    found = top(result=None, failures=["data.max_bad_fraction: too many"])
    assert "stopped data.max_bad_fraction: too many" in found


def test_the_recipe_is_folded() -> None:
    found = usual_page()
    assert "seed: 0" in found.words("recipe")
    assert {"details", "summary"} <= set(found.tags)


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
