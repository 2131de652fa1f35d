"""The report's pictures of an autoencoder: reconstructions, samples of the prior, paths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pipeline.report.drawing.page import render_page
from pipeline.report.facts import Interpolations, Pixels, PriorSamples, Reconstructions
from pipeline.report.sections.interpolations import interpolations_section
from pipeline.report.sections.prior_samples import prior_samples_section
from pipeline.report.sections.reconstructions import difference, reconstructions_section
from tests.report.report_facts import SCRIPT, Page, facts, part, pictures

pytestmark = pytest.mark.fast


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def reconstructions(channels: int = 3, size: int = 32, **changes: Any) -> Reconstructions:
    usual = {
        "sample_ids": [70, 71],
        "images": noise(2, size, size, 3),
        "means": noise(2, size, size, channels, seed=1),
        "nats": np.array([1500.0, 2500.0]),
        "least_nats": np.array([-1000.0, -1000.0]),
        "likelihood": "gaussian, scale 0.1",
    }
    return Reconstructions(**{**usual, **changes})


def prior_samples(count: int = 10, channels: int = 3) -> PriorSamples:
    return PriorSamples(width=64, seed=7, means=noise(count, 32, 32, channels))


def interpolations(channels: int = 3) -> Interpolations:
    return Interpolations(
        sample_ids=[(70, 71), (72, 73)],
        images=noise(2, 2, 32, 32, 3),
        means=noise(2, 8, 32, 32, channels, seed=1),
    )


def pixels_at(picture: Pixels, top: int, left: int, times: int) -> Pixels:
    """The 32 x 32 pixels of an opaque tile in which each is a square of `times`."""
    tile = picture[top : top + 32 * times, left : left + 32 * times]
    small = tile[::times, ::times]
    assert np.array_equal(tile, np.kron(small, np.ones((times, times, 1), np.uint8)))
    assert (tile[..., 3] == 255).all()
    return small[..., :3]


def in_colour(decoded: Pixels) -> Pixels:
    return np.broadcast_to(decoded, (*decoded.shape[:-1], 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_stands_beside_its_reconstruction_and_their_difference(channels: int) -> None:
    found = reconstructions(channels)
    drawn = pictures(part(reconstructions_section, reconstructions=found))
    assert len(drawn) == 2
    for row, picture in enumerate(drawn):
        image, mean, distance = (pixels_at(picture, 0, left, 3) for left in (0, 98, 196))
        assert np.array_equal(image, found.images[row])
        assert np.array_equal(mean, in_colour(found.means[row]))
        target = found.images[row].astype(float)
        if channels == 1:
            target = target.mean(axis=2, keepdims=True)
        away = abs(target - found.means[row])
        assert np.abs(distance - away).max() <= 0.5
        assert (picture[:, 96:98, 3] == 0).all()


def test_equal_images_differ_by_black() -> None:
    (image,) = noise(1, 8, 8, 3)
    assert not difference(image, image).any()
    assert (
        difference(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 1), 255, np.uint8)) == 255
    ).all()


def test_what_reconstructions_cost_is_told_in_nats_and_bits() -> None:
    page = part(reconstructions_section, reconstructions=reconstructions())
    bits = 1500 / 3072 / math.log(2)
    assert f"Sample 70: 1,500.0 nats, {bits:.3f} bits/value" in page.words()
    assert "likelihood gaussian, scale 0.1" in page.words()
    assert "values 32 × 32 × 3 = 3,072 of an image" in page.words()
    assert "2,000.0 nats, 0.939 bits/value, mean of these samples" in page.words()
    assert "of a perfect decoder -1,000.0 nats, -0.470 bits/value" in page.words()
    assert "one channel" not in page.words()
    assert page.labels == [
        f"Sample {number}: the image, its reconstruction, and their difference"
        for number in (70, 71)
    ]
    grey = part(reconstructions_section, reconstructions=reconstructions(1)).words()
    assert "The decoder gives one channel, the mean of the image's three" in grey
    assert f"{1500 / 1024 / math.log(2):.3f} bits/value" in grey


def test_large_images_are_reduced() -> None:
    found = reconstructions(size=224, means=np.full((2, 224, 224, 1), 200, np.uint8))
    picture = pictures(part(reconstructions_section, reconstructions=found))[0]
    assert picture.shape == (96, 3 * 96 + 4, 4)
    assert (picture[:, 98:194] == (200, 200, 200, 255)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_of_the_prior_are_a_grid(channels: int) -> None:
    found = prior_samples(channels=channels)
    page = part(prior_samples_section, prior_samples=found)
    (grid,) = pictures(page)
    assert grid.shape == (2 * 64 + 4, 8 * 64 + 7 * 4, 4)
    for number, mean in enumerate(found.means):
        row, column = divmod(number, 8)
        assert np.array_equal(pixels_at(grid, 68 * row, 68 * column, 2), in_colour(mean))
    assert (grid[68:, 68 * 2 :, 3] == 0).all()
    assert "for 10 codes z of 64 dimensions" in page.words()
    assert "by the run's seed, 7:" in page.words()
    assert page.labels == ["10 images decoded from codes of the prior"]


@pytest.mark.parametrize("channels", [1, 3])
def test_paths_lie_between_the_true_images(channels: int) -> None:
    found = interpolations(channels)
    page = part(interpolations_section, interpolations=found)
    (grid,) = pictures(page)
    starts = [64 + 10 + number * (64 + 2) for number in range(8)]
    last = starts[-1] + 64 + 10
    assert grid.shape == (2 * 64 + 8, last + 64, 4)
    for row in range(2):
        top = row * (64 + 8)
        for end, left in enumerate((0, last)):
            assert np.array_equal(pixels_at(grid, top, left, 2), found.images[row, end])
        for step, left in enumerate(starts):
            decoded = pixels_at(grid, top, left, 2)
            assert np.array_equal(decoded, in_colour(found.means[row, step]))
    assert "Sample ids, row by row: 70 to 71, 72 to 73." in page.words()
    assert "8 codes from" in page.words()


def test_only_runs_with_an_autoencoder_have_these_sections() -> None:
    for section in (reconstructions_section, prior_samples_section, interpolations_section):
        assert section(facts()) is None
    page = Page(
        render_page(
            facts(
                reconstructions=reconstructions(),
                prior_samples=prior_samples(),
                interpolations=interpolations(),
            )
        )
    )
    anchors = ["reconstructions", "prior-samples", "interpolations"]
    assert [anchor for anchor in page.text if anchor in anchors] == anchors
    assert {f"#{anchor}" for anchor in anchors} <= set(page.references)


def test_what_cannot_be_had_is_told_as_text() -> None:
    page = Page(
        render_page(facts(reconstructions=SCRIPT, prior_samples=SCRIPT, interpolations=SCRIPT))
    )
    assert f"The reconstructions cannot be drawn: {SCRIPT}" in page.words("reconstructions")
    assert f"The samples cannot be drawn: {SCRIPT}" in page.words("prior-samples")
    assert f"The interpolations cannot be drawn: {SCRIPT}" in page.words("interpolations")
    assert page.tags.count("script") == 1


def test_a_likelihood_s_text_is_no_markup() -> None:
    page = part(reconstructions_section, reconstructions=reconstructions(likelihood=SCRIPT))
    assert SCRIPT in page.words()
    assert "script" not in page.tags
