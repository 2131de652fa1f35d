"""Bad pairs on the page and on the contact sheet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.report.drawing.contact_sheet import contact_sheet
from pipeline.report.facts import BadPairs, BadSort, ListedSample
from pipeline.report.sections.bad_pairs import bad_pairs_section
from pipeline.report.sections.curves import curves_section
from tests.report.report_facts import SCRIPT, facts, metrics, part, pictures, training

pytestmark = pytest.mark.fast


def sample(number: int, **changes: Any) -> ListedSample:
    usual: dict[str, Any] = {
        "sample_id": 100 + number,
        "shard": "train-000001.tar",
        "key": f"photo-{number}",
        "mean_loss": 0.125,
        "deviations": -4.5 + number / 10,
        "seen": 1234,
        "miner_weight": 0.125,
        "arbiter_weight": 0.25,
    }
    return ListedSample(**(usual | changes))


NOISY = BadSort(name="noisy", total=12345, listed=[sample(number) for number in range(20)])
FAULTY = BadSort(name="faulty", total=0, listed=[])
OUTLIERS = BadSort(name="outlier", total=1, listed=[sample(3)])
IMAGES = {i: np.full((32, 32, 3), i, np.uint8) for i in range(100, 112)}
FOUND = BadPairs(
    location="/runs/a run/bad_pairs.parquet",
    step=4000,
    known=200_000,
    samples=200_010,
    sorts=[NOISY, FAULTY, OUTLIERS],
    images=IMAGES,
    excluded=np.array([], np.int64),
)


def test_each_sort_has_its_count_its_pictures_and_a_table() -> None:
    found = part(bad_pairs_section, bad_pairs=FOUND)
    told = found.words()
    assert "the checkpoint of step 4,000 remembers of 200,000 samples, of 200,010 in all" in told
    assert "Noisy: 12,345 of 200,000 samples (6.17%)" in told
    assert "The list has the worst 20." in told
    assert "Faulty: 0 of 200,000 samples" in told
    assert "Outliers: 1 of 200,000 samples (0.00%)" in told
    assert "Sample 100 photo-0 −4.5 deviations" in told
    assert "Sample 103 photo-3 weight 0.250" in told
    assert "100 train-000001.tar photo-0 0.125 −4.50 1,234 0.25" in told
    shown = pictures(found)
    assert [int(picture[0, 0, 0]) for picture in shown] == [*range(100, 112), 103]
    assert "Sample 112" not in told
    assert found.tags.count("table") == 2
    assert "'data.exclude=/runs/a run/bad_pairs.parquet'" in told


def test_without_an_arbiter_there_are_no_weights() -> None:
    alone = BadSort(name="noisy", total=1, listed=[sample(0, arbiter_weight=None)])
    told = part(bad_pairs_section, bad_pairs=replace(FOUND, sorts=[alone])).words()
    assert "weight" not in told


def test_nothing_is_to_be_left_out_where_nothing_is_bad() -> None:
    none = part(bad_pairs_section, bad_pairs=replace(FOUND, sorts=[FAULTY], known=5)).words()
    assert "Faulty: 0 of 5 samples" in none
    assert "data.exclude" not in none


def test_keys_are_text() -> None:
    odd = BadSort(name="faulty", total=1, listed=[sample(0, key=SCRIPT)])
    found = part(bad_pairs_section, bad_pairs=replace(FOUND, sorts=[odd]))
    assert "script" not in found.tags
    assert SCRIPT in found.words()


def test_reasons_and_notes_are_told() -> None:
    told = part(bad_pairs_section, bad_pairs="there is no checkpoint yet.").words()
    assert told == "Bad pairs cannot be listed: there is no checkpoint yet."
    found = replace(FOUND, images="the shards cannot be read.", notes=["It is too early."])
    page = part(bad_pairs_section, bad_pairs=found)
    assert "It is too early." in page.words()
    assert "There are no pictures: the shards cannot be read." in page.words()
    assert "Sample 100 photo-0" in page.words()
    assert pictures(page) == []
    assert bad_pairs_section(facts()) is None


def test_the_sheet_has_the_worst_of_each_sort() -> None:
    sheet = contact_sheet(FOUND)
    assert sheet.dtype == np.uint8
    colours = {tuple(colour) for colour in sheet.reshape(-1, 3).tolist()}
    assert {(i, i, i) for i in range(100, 112)} <= colours
    # The others have squares without a picture.
    assert contact_sheet(replace(FOUND, images="gone")).shape == sheet.shape


@pytest.mark.parametrize("key", ["k" * 500, "a\nb\x00", "写真/фото-é", ""])
def test_any_key_fits_on_the_sheet(key: str) -> None:
    odd = BadSort(name="noisy", total=1, listed=[sample(0, key=key)])
    plain = BadSort(name="noisy", total=1, listed=[sample(0)])
    sheets = [contact_sheet(replace(FOUND, sorts=[sort])) for sort in (odd, plain)]
    assert sheets[0].shape == sheets[1].shape
    right = np.array([sheet[:, 16 + 144 + 1 :].min(axis=(1, 2)) for sheet in sheets])
    below = slice(16 + 34 + 144 + 2, None)  # under the heading and the picture
    assert (right[0][below] == 255).all()


def test_weights_are_drawn_with_what_they_mean() -> None:
    values = {
        "miner_bad_share": 0.05,
        "miner_weight_least": 0.1,
        "miner_weight_most": 1.0,
        "miner_effective_share": 0.9,
        "arbiter_weight_least": 0.5,
        "arbiter_weight_most": 1.5,
        "arbiter_effective_share": 0.8,
    }
    records = [training(0), *(metrics(s, loss=1, **values) for s in (10, 20))]
    found = part(curves_section, records=records)
    assert "own figures" not in found.words()
    for label in (
        "Samples turned down over steps; value 5 at the end",
        "Weights by the miner over steps; least 0.1 at the end, most 1 at the end",
        "Weights by the arbiter over steps; least 0.5 at the end, most 1.5 at the end",
        "Effective share of pairs over steps; miner 90 at the end, arbiter 80 at the end",
    ):
        assert label in found.labels
