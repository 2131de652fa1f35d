"""View parameters are a pure function of (seed, epoch, id, view), with the asked-for statistics."""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torchvision.transforms import RandomResizedCrop

from pipeline.views.arrays import Floats, Ints
from pipeline.views.parameters import (
    ImageViews,
    LocalViews,
    ViewParameters,
    centre_crop,
    draw,
)

pytestmark = pytest.mark.fast

COUNT = 20_000
IDS = np.arange(COUNT)
ALL = ImageViews(blur=0.3, solarize=0.1, jitter=0.5, grayscale=0.2)


def drawn(
    config: ImageViews = ALL,
    *,
    ids: Ints = IDS,
    size: tuple[int, int] | Ints = (96, 128),
    seed: int = 0,
    epoch: int = 0,
    view: int = 0,
) -> ViewParameters:
    sizes = np.broadcast_to(np.asarray(size, dtype=np.int64), (len(ids), 2))
    return draw(config, seed=seed, epoch=epoch, sample_ids=ids, view=view, sizes=sizes)


def assert_uniform(values: Floats, low: float, high: float) -> None:
    """Kolmogorov-Smirnov at a level of about one in a million."""
    assert low <= values.min()
    assert values.max() <= high
    ranks = (np.sort(values) - low) / (high - low)
    steps = np.arange(len(values)) / len(values)
    assert np.abs(ranks - steps).max() < 2.7 / np.sqrt(len(values))


def assert_share(chosen: Any, share: float) -> None:
    assert abs(np.mean(chosen) - share) < 5 * np.sqrt(share * (1 - share) / len(chosen)) + 1e-12


def assert_equal(left: ViewParameters, right: ViewParameters) -> None:
    for one, other in zip(astuple(left), astuple(right), strict=True):
        np.testing.assert_array_equal(one, other)


def rows(parameters: ViewParameters, chosen: Ints) -> ViewParameters:
    return ViewParameters(
        **{f.name: getattr(parameters, f.name)[chosen] for f in fields(parameters)}
    )


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.integers(0, 2**62), min_size=1, max_size=30),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
    view=st.integers(0, 15),
    order=st.randoms(use_true_random=False),
)
def test_a_samples_parameters_do_not_depend_on_its_batch_or_place_in_it(
    ids: list[int], seed: int, epoch: int, view: int, order: Any
) -> None:
    sizes = np.array([[1 + i % 90, 1 + i % 77] for i in ids])

    def of(chosen: Ints) -> ViewParameters:
        some = np.array(ids, dtype=np.int64)[chosen]
        return drawn(ids=some, size=sizes[chosen], seed=seed, epoch=epoch, view=view)

    whole = of(np.arange(len(ids)))
    shuffled = np.array(order.sample(range(len(ids)), len(ids)))
    assert_equal(of(shuffled), rows(whole, shuffled))
    for row in range(len(ids)):
        assert_equal(of(np.array([row])), rows(whole, np.array([row])))


def test_seeds_epochs_and_views_give_unrelated_parameters() -> None:
    base = drawn()
    for other in (drawn(seed=1), drawn(epoch=1), drawn(view=1), drawn(ids=IDS + COUNT)):
        for name in ("brightness", "contrast", "saturation", "hue", "blur_sigma", "flip"):
            pair = getattr(base, name).astype(float), getattr(other, name).astype(float)
            assert abs(np.corrcoef(*pair)[0, 1]) < 5 / np.sqrt(COUNT)
        assert (base.crop != other.crop).any(axis=1).mean() > 0.99


def test_swapping_two_arguments_of_equal_size_gives_something_else() -> None:
    one, other = drawn(seed=2, epoch=3, view=1), drawn(seed=3, epoch=2, view=1)
    assert (one.hue != other.hue).mean() > 0.99
    one, other = drawn(seed=0, epoch=1, view=2), drawn(seed=0, epoch=2, view=1)
    assert (one.hue != other.hue).mean() > 0.99


def test_chances_are_those_of_the_recipe() -> None:
    p = drawn()
    assert_share(p.flip, 0.5)
    assert_share(p.jitter, 0.8)
    assert_share(p.grayscale, 0.2)
    assert_share(p.blur_sigma > 0, 0.3)
    assert_share(p.solarize, 0.1)


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_chances_of_zero_and_one_are_never_and_always(chance: float) -> None:
    names = ("flip", "jitter_probability", "grayscale", "blur", "solarize")
    p = drawn(ImageViews(**dict.fromkeys(names, chance)))
    for chosen in (p.flip, p.jitter, p.grayscale, p.blur_sigma > 0, p.solarize):
        assert (chosen == bool(chance)).all()


def test_no_jitter_means_no_change_of_colour() -> None:
    p = drawn(ImageViews(jitter=0.0))
    assert not p.jitter.any()
    for factor in (p.brightness, p.contrast, p.saturation):
        assert (factor == 1).all()
    assert (p.hue == 0).all()


@pytest.mark.parametrize(("jitter", "low", "high"), [(0.5, 0.6, 1.4), (1.0, 0.2, 1.8)])
def test_colour_factors_are_uniform_over_simclrs_ranges(
    jitter: float, low: float, high: float
) -> None:
    p = drawn(ImageViews(jitter=jitter))
    for factor in (p.brightness, p.contrast, p.saturation):
        assert_uniform(factor, low, high)
    assert_uniform(p.hue, -0.2 * jitter, 0.2 * jitter)


def test_every_order_of_the_colour_operations_is_as_frequent_as_any_other() -> None:
    orders, counts = np.unique(drawn().colour_order, axis=0, return_counts=True)
    assert len(orders) == 24
    assert (np.sort(orders, axis=1) == np.arange(4)).all()
    assert np.abs(counts - COUNT / 24).max() < 5 * np.sqrt(COUNT / 24)


def test_blur_is_uniform_over_its_range_where_there_is_any() -> None:
    sigma = drawn().blur_sigma
    assert_uniform(sigma[sigma > 0], 0.1, 2.0)


def test_the_choices_for_a_sample_are_independent_of_each_other() -> None:
    p = drawn(size=(480, 640))
    top, left, height, width = p.crop.T.astype(float)
    columns = [p.flip, p.jitter, p.grayscale, p.blur_sigma > 0, p.solarize, p.brightness]
    columns += [p.contrast, p.saturation, p.hue, height * width, width / height]
    columns += [(top + 0.5) / (481 - height), (left + 0.5) / (641 - width), p.colour_order[:, 0]]
    related = np.corrcoef(np.array(columns, dtype=float)) - np.eye(len(columns))
    area, ratio = 9, 10
    related[area, ratio] = related[ratio, area] = 0
    assert np.abs(related).max() < 5 / np.sqrt(COUNT)


@pytest.mark.parametrize("size", [(480, 640), (512, 512), (1000, 400)])
def test_crops_have_the_distribution_of_torchvisions(size: tuple[int, int]) -> None:
    height, width = size
    image = torch.zeros(1, height, width)
    torch.manual_seed(0)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)]
    )
    ours = drawn(size=size).crop
    for measure in (
        lambda c: c[:, 2] * c[:, 3] / (height * width),
        lambda c: c[:, 3] / c[:, 2],
        lambda c: c[:, 0],
        lambda c: c[:, 1],
    ):
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            bound = np.quantile(measure(theirs), share)
            low = (measure(ours) < bound).mean(), (measure(ours) <= bound).mean()
            assert low[0] - 0.05 < share < low[1] + 0.05


def test_the_share_of_the_area_lies_in_crop_scale() -> None:
    for scale in ((0.2, 1.0), (0.05, 0.3), (0.5, 0.5)):
        crop = drawn(ImageViews(crop_scale=scale), size=(600, 600)).crop
        share = crop[:, 2] * crop[:, 3] / 600**2
        assert scale[0] - 0.01 < share.min()
        assert share.max() < scale[1] + 0.01
    narrow = drawn(ImageViews(crop_scale=(0.05, 0.3)), size=(600, 600)).crop
    assert_uniform(narrow[:, 2] * narrow[:, 3] / 600**2, 0.049, 0.301)


def test_local_views_come_after_the_global_ones_and_have_crops_of_their_own_size() -> None:
    local = LocalViews(count=2, size=8, crop_scale=(0.05, 0.3))
    config = ALL.model_copy(update={"local": local})
    for view in (0, 1):
        assert_equal(drawn(config, view=view), drawn(view=view))
    for view in (2, 3):
        crop = drawn(config, size=(600, 600), view=view).crop
        assert_uniform(crop[:, 2] * crop[:, 3] / 600**2, 0.049, 0.301)
        assert (drawn(config, view=view).hue == drawn(view=view).hue).all()


def test_a_row_holds_the_global_views_and_then_the_local_ones() -> None:
    alone = ImageViews(size=8, count=2)
    assert alone.shapes == ((2, 8, 8, 3),)
    assert alone.row_bytes == 384
    config = ImageViews(size=8, count=2, local=LocalViews(count=3, size=4))
    assert config.shapes == ((2, 8, 8, 3), (3, 4, 4, 3))
    assert config.row_bytes == 384 + 144
    rows = np.arange(5 * 528).astype(np.uint8).reshape(5, 528)
    large, small = config.split(rows)
    assert large.shape == (5, 2, 8, 8, 3)
    assert small.shape == (5, 3, 4, 4, 3)
    assert np.shares_memory(large, rows)
    assert np.shares_memory(small, rows)
    joined = np.concatenate([large.reshape(5, -1), small.reshape(5, -1)], axis=1)
    np.testing.assert_array_equal(joined, rows)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    scale=st.sampled_from([(0.2, 1.0), (1e-6, 1e-6), (0.08, 1.0), (1.0, 1.0)]),
    ratio=st.sampled_from([(0.75, 4 / 3), (1.0, 1.0), (0.01, 100.0), (3.0, 4.0)]),
)
def test_crops_lie_within_the_image_whatever_its_size(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    config = ImageViews(crop_scale=scale, crop_ratio=ratio)
    top, left, crop_h, crop_w = drawn(config, ids=np.arange(64), size=(height, width)).crop.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (crop_h >= 1).all()
    assert (crop_w >= 1).all()
    assert (top + crop_h <= height).all()
    assert (left + crop_w <= width).all()


def test_every_position_of_a_crop_occurs_borders_included() -> None:
    top, left, height, width = drawn(size=(12, 15)).crop.T
    assert set(top[height == 8]) == set(range(5))
    assert set(left[width == 8]) == set(range(8))


@pytest.mark.parametrize(
    "size", [(1, 500), (500, 1), (2, 7), (3, 100), (100, 3), (7, 101), (10, 1000), (1000, 11)]
)
def test_images_too_long_for_any_crop_fall_back_as_torchvisions_do(size: tuple[int, int]) -> None:
    scale, ratio = (0.9, 1.0), (3 / 4, 4 / 3)
    theirs = RandomResizedCrop.get_params(torch.zeros(1, *size), list(scale), list(ratio))
    ours = drawn(ImageViews(crop_scale=scale, crop_ratio=ratio), ids=np.arange(50), size=size)
    assert (ours.crop == theirs).all()


def test_the_centre_crop_is_the_largest_centred_square() -> None:
    assert centre_crop(10, 10) == (0, 0, 10, 10)
    assert centre_crop(10, 21) == (0, 5, 10, 10)
    assert centre_crop(33, 8) == (12, 0, 8, 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crop_scale", (0.5, 0.2)),
        ("crop_scale", (0.0, 1.0)),
        ("crop_ratio", (2.0, 1.0)),
        ("blur_sigma", (0.0, 1.0)),
        ("std", (0.2, 0.0, 0.2)),
        ("flip", 1.5),
        ("count", 0),
        ("colour", 1),
        ("local", {"size": 64}),
        ("local", {"crop_scale": (0.4, 0.1)}),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        ImageViews(**{name: value})
