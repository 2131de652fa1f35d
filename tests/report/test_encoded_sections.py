"""Map, neighbours and spectrum of features: what is drawn is what the features say."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline.report.drawing.sprite import MOST_BYTES, sprite
from pipeline.report.encoded_facts import EncodedFacts, Spectrum
from pipeline.report.gathering.encoded import nearest_rows
from pipeline.report.sections.embedding_map import map_section
from pipeline.report.sections.neighbours import neighbours_section
from pipeline.report.sections.spectrum import directions, spectrum_section
from tests.report.report_facts import SCRIPT, encoded, facts, part

pytestmark = pytest.mark.fast


def test_every_sample_is_a_dot_with_its_place_in_the_sprite() -> None:
    body = str(map_section(facts()).body)
    assert sorted(map(int, re.findall(r'data-row="(\d+)"', body))) == list(range(60))
    places = [*map(float, re.findall(r'c[xy]="([\d.-]+)"', body))]
    assert 0 <= min(places) <= max(places) <= 600
    assert "&lt;b&gt;cats&lt;/b&gt;, sample 2" in body
    assert "<b>" not in body
    words = part(map_section).words()
    assert "60 of 600 test samples of the evaluation" in words
    assert "Colours are classes, which the encoder was not told." in words


def test_without_labels_groups_are_of_like_features() -> None:
    words = part(map_section, encoded=encoded(labelled=False)).words()
    assert "Colours are groups of like features (k-means)" in words
    assert "group 1" in words


@pytest.mark.parametrize("why", ["the run has no encoder yet.", SCRIPT])
def test_why_there_is_no_map_is_told_once(why: str) -> None:
    run = facts(encoded=why)
    assert (
        f"There is no map, nor are there neighbours and a spectrum: {why}"
        in part(map_section, encoded=why).words()
    )
    assert neighbours_section(run) is None
    assert spectrum_section(run) is None


def test_the_sprite_has_every_picture_in_its_place() -> None:
    flat = np.zeros((7, 16, 16, 3), np.uint8)
    flat[:] = (np.arange(7) * 35)[:, None, None, None]
    found = sprite(flat)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.jpeg))))
    assert image.shape == (found.rows * 16, found.columns * 16, 3)
    for row in range(7):
        top, left = row // found.columns * 16, row % found.columns * 16
        assert abs(int(image[top + 8, left + 8, 0]) - row * 35) <= 3


def test_a_sprite_of_noise_stays_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 64, 64, 3), np.uint8)
    assert len(base64.b64decode(sprite(noise).jpeg)) <= MOST_BYTES


def test_the_nearest_are_those_of_a_slow_search() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found, cosines = nearest_rows(rows, rows, 3, of_themselves=True)
    for query in range(30):
        others = [other for other in range(30) if other != query]
        slow = sorted(others, key=lambda other: -(rows[query] @ rows[other]))
        assert found[query].tolist() == slow[:3]
        assert cosines[query] == pytest.approx([rows[query] @ rows[o] for o in slow[:3]])


def test_neighbours_of_clusters_have_their_label() -> None:
    words = part(neighbours_section).words()
    assert "every sample on the map 100 % have its label" in words


def test_the_spectrum_counts_directions() -> None:
    flat = Spectrum(eigenvalues=np.ones(10), width=16)
    steep = Spectrum(eigenvalues=np.array([1.0, 0.01, 0.01]), width=16)
    assert (directions(flat), directions(steep)) == (9, 1)
    collapsed: EncodedFacts = replace(
        encoded(), spectrum=Spectrum(eigenvalues=np.zeros(0), width=16)
    )
    assert "complete collapse" in part(spectrum_section, encoded=collapsed).words()
