"""The report of a run: what the page says, and that it says so anywhere."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Mapping
from html import unescape
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.report.drawing.page import SECTIONS, render_page
from pipeline.report.facts import FirstViews, Ledger
from pipeline.report.sections.panel import MEASURES, panel_section
from pipeline.report.sections.probes import probes_section, scored_probes
from pipeline.report.sections.samples import samples_section
from pipeline.report.sections.views import views_grid, views_section
from tests.report.report_facts import (
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
    # This run masks nothing, has no autoencoder, weighs no pairs, and stands beside no other.
    of_others = 2 + 3 + 1 + 1
    assert len(SECTIONS) - of_others == len(found.text) - 1
    assert list(found.text)[1:] == [
        *("summary", "probes", "panel", "map", "neighbours", "spectrum"),
        *("curves", "throughput", "views", "samples", "recipe"),
    ]
    assert found.references
    assert [r for r in found.references if not r.startswith(("#", "data:"))] == []
    assert not {"link", "iframe", "object"} & set(found.tags)
    assert found.tags.count("script") == 1  # our own, which the page's policy names by its digest
    (script,) = re.findall(r"<script>(.*?)</script>", usual_html(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in unescape(usual_html())
    assert not re.search(r"url\((?!#)|@import", usual_html())


def test_ids_are_given_once_and_every_figure_has_words() -> None:
    html = usual_html()
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids)) > 10
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', html))
    assert used <= set(ids)
    assert all(" alt=" in image for image in re.findall(r"<img[^>]*>", html))
    drawings = re.findall(r"<svg[^>]*>", html)
    assert len(drawings) > 5
    assert all("aria-label=" in drawing or "aria-hidden" in drawing for drawing in drawings)


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
    assert html.count("<script") == found.tags.count("script") == 1
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
