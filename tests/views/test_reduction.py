"""Antialiased resizing gives Pillow's pixels, whatever the shape and however many strips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.views import reduction
from pipeline.views.reduction import resize_antialiased

pytestmark = pytest.mark.fast


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.integers(1, 60),
    margin=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_any_shape_and_any_crop_is_within_one_level_of_pillow(
    height: int, width: int, size: int, margin: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 256, (height + 2 * margin, width + 2 * margin, 3), dtype=np.uint8)
    crop = whole[margin : margin + height, margin : margin + width]
    _assert_like_pillow(crop, size)


@pytest.mark.parametrize("strip", [1, 700, 5000])
def test_strips_do_not_show(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    whole = resize_antialiased(image, 24)
    monkeypatch.setattr(reduction, "_STRIP_PIXELS", strip)
    np.testing.assert_array_equal(resize_antialiased(image, 24), whole)


def test_a_photograph_of_many_strips_is_within_one_level_of_pillow() -> None:
    image = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    _assert_like_pillow(image, 224)


def _assert_like_pillow(image: np.ndarray, size: int) -> None:
    exact = Image.fromarray(np.ascontiguousarray(image)).resize(
        (size, size), Image.Resampling.BILINEAR
    )
    found = resize_antialiased(image, size)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - np.asarray(exact)).max() <= 1
