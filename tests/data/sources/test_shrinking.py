"""A reduced image shows training what the original would, in fewer bytes, or the same fault."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image

from pipeline.data.decode import BadSample, Pixels, decode_image, encode_png, image_size
from pipeline.data.sources.shrinking import shrunk
from pipeline.views.reduction import resize_antialiased

pytestmark = pytest.mark.fast

CHINA = load_sample_image("china.jpg")  # (427, 640, 3), a photograph
FLOWER = load_sample_image("flower.jpg")


def jpeg(pixels: Pixels, **options: Any) -> bytes:
    return encoded(Image.fromarray(pixels), "JPEG", **{"quality": 92, **options})


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def enlarged(pixels: Pixels, width: int, height: int) -> Pixels:
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def lanczos(pixels: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def apart(one: Pixels, other: Pixels) -> float:
    """Mean absolute difference."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other).mean())


FILTERS: dict[str, Callable[[Pixels, int, int], Pixels]] = {
    "lanczos": lanczos,
    "area": lambda p, w, h: cv2.resize(p, (w, h), interpolation=cv2.INTER_AREA),
}


@pytest.mark.parametrize("factor", [1.3, 2, 3.7, 8, 10])
@pytest.mark.parametrize("photo", [CHINA, FLOWER], ids=["china", "flower"])
def test_a_photograph_equals_a_full_decode_and_another_filter(photo: Pixels, factor: float) -> None:
    """However many eighths of it are decoded, about as closely as its own filter after all."""
    width = round(200 * factor)
    data = jpeg(enlarged(photo, width, width * 2 // 3))
    small, whole = decode_image(shrunk(data, max_side=200)), decode_image(data)
    assert small.shape[:2] == (round(width * 2 // 3 * 200 / width), 200)
    own = Image.fromarray(whole).resize((200, len(small)), Image.Resampling.BICUBIC)
    after_all = decode_image(jpeg(np.asarray(own), quality=90, subsampling="4:2:0"))
    for other in FILTERS.values():
        expected = other(whole, 200, len(small))
        assert apart(small, expected) < min(5, 1.05 * apart(after_all, expected))


@pytest.mark.parametrize("photo", [CHINA, FLOWER], ids=["china", "flower"])
@pytest.mark.parametrize("window", [(0.0, 0.0, 1.0), (0.3, 0.2, 0.45), (0.5, 0.5, 0.45)])
def test_views_of_the_reduced_image_are_those_of_the_original(
    photo: Pixels, window: tuple[float, float, float]
) -> None:
    """Of all of it, and of a fifth of its area; a hundredth of the picture beside it is far off."""
    data = jpeg(enlarged(photo, 2400, 1600))
    whole, small = decode_image(data), decode_image(shrunk(data, max_side=300))
    expected = view(whole, *window)
    beside = view(whole, abs(window[0] - 0.01), window[1], min(window[2], 0.99))
    assert apart(view(small, *window), expected) < min(4, apart(beside, expected) / 3)


def view(pixels: Pixels, top: float, left: float, side: float) -> Pixels:
    height, width = pixels.shape[:2]
    window = pixels[round(top * height) :, round(left * width) :]
    window = window[: round(side * height), : round(side * width)]
    return resize_antialiased(np.ascontiguousarray(window), 64)


def test_nothing_moves() -> None:
    """A gradient keeps its place, to a tenth of the reduced image's pixel."""
    across = np.tile(np.linspace(0, 255, 1000), (700, 1)).round().astype(np.uint8)
    for data in (jpeg(np.dstack([across] * 3), quality=100), encode_png(across)):
        for side in (501, 250, 125, 97, 60):
            small = decode_image(shrunk(data, max_side=side, quality=100)).astype(float)
            expected = ((np.arange(side) + 0.5) * (1000 / side) - 0.5) * 255 / 999
            # The first and the last have neighbours on one side only.
            off = (small.mean(axis=(0, 2)) - expected)[2:-2]
            assert abs(off.mean()) < 0.2 + 0.1 * 255 / side  # roundings are 0.2 of a level
            assert abs(off).max() < 2


@pytest.mark.parametrize("side", [640, 641, 10_000])
def test_what_is_no_larger_stays_byte_for_byte(side: int) -> None:
    data = jpeg(CHINA, exif=b"Exif\x00\x00", quality=30)
    assert shrunk(data, max_side=side) is data
    assert shrunk(data, max_side=639) != data


@settings(max_examples=60, deadline=None)
@given(
    height=st.one_of(st.integers(1, 40), st.integers(1, 900)),
    width=st.one_of(st.integers(1, 40), st.integers(1, 900)),
    side=st.integers(1, 300),
    kind=st.sampled_from(["JPEG", "PNG"]),
)
def test_sides_of_any_size(height: int, width: int, side: int, kind: str) -> None:
    """The longer one is what was asked for, the other within half a pixel of its share."""
    rows = np.linspace(40, 200, height)[:, None, None] + np.zeros((1, width, 3))
    data = encoded(Image.fromarray(rows.astype(np.uint8)), kind)
    reduced = shrunk(data, max_side=side)
    new_height, new_width = image_size(reduced)
    if max(height, width) <= side:
        assert reduced is data
        return
    assert max(new_height, new_width) == side
    share = side / max(height, width)
    assert abs(new_height - max(1, height * share)) <= 0.5
    assert abs(new_width - max(1, width * share)) <= 0.5
    pixels = decode_image(reduced)
    assert pixels.shape == (new_height, new_width, 3)
    assert 30 < pixels.min() <= pixels.max() < 210
    assert shrunk(reduced, max_side=side) is reduced


@pytest.mark.parametrize(("width", "height"), [(12_000, 3), (1, 9000), (20_000, 400)])
def test_panoramas_and_slits(width: int, height: int) -> None:
    band = np.tile(np.arange(height)[:, None, None] * 200 // height, (1, width, 3))
    small = decode_image(shrunk(jpeg(band.astype(np.uint8)), max_side=512))
    assert small.shape[:2] == (
        max(1, round(height * 512 / max(width, height))),
        max(1, round(width * 512 / max(width, height))),
    )
    expected = lanczos(band.astype(np.uint8), small.shape[1], small.shape[0])
    assert apart(small, expected) < 3


def test_what_pads_the_blocks_of_a_thin_image_is_not_seen() -> None:
    columns = np.zeros((4000, 8, 3), dtype=np.uint8)
    columns[:, 0] = 200
    data = bytearray(jpeg(columns, subsampling="4:4:4"))
    frame = data.index(b"\xff\xc0")
    data[frame + 7 : frame + 9] = struct.pack(">H", 1)  # the seven black ones become padding
    small = decode_image(shrunk(bytes(data), max_side=500))
    assert small.shape == (500, 1, 3)
    np.testing.assert_allclose(small, 200, atol=12)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter to the right
    return exif.tobytes()


def test_notes_on_orientation_and_colour_change_nothing() -> None:
    plain = jpeg(CHINA)
    noted = jpeg(CHINA, exif=turned(), icc_profile=b"not sRGB" * 50)
    np.testing.assert_array_equal(decode_image(plain), decode_image(noted))
    small = shrunk(noted, max_side=160)
    assert small == shrunk(plain, max_side=160)
    assert not opened(small).getexif()
    assert "icc_profile" not in opened(small).info


def with_alpha() -> Image.Image:
    alpha = np.tile(np.linspace(0, 255, 640), (427, 1)).astype(np.uint8)
    return Image.fromarray(np.dstack([CHINA, alpha]))


def deep() -> Image.Image:
    return Image.fromarray((CHINA[..., 0].astype(np.uint16) << 8) + 77)


KINDS: dict[str, tuple[bytes, str, str]] = {  # encoded; format and mode of what comes of it
    "grey JPEG": (encoded(Image.fromarray(CHINA).convert("L"), "JPEG"), "JPEG", "L"),
    "CMYK JPEG": (encoded(Image.fromarray(CHINA).convert("CMYK"), "JPEG"), "JPEG", "RGB"),
    "progressive JPEG": (jpeg(CHINA, progressive=True), "JPEG", "RGB"),
    "4:4:4": (jpeg(CHINA, subsampling="4:4:4"), "JPEG", "RGB"),
    "4:1:1": (jpeg(CHINA, subsampling="4:1:1"), "JPEG", "RGB"),
    "JPEG of RGB": (jpeg(CHINA, keep_rgb=True), "JPEG", "RGB"),
    "WebP": (encoded(Image.fromarray(CHINA), "WEBP"), "JPEG", "RGB"),
    "PNG": (encode_png(CHINA), "PNG", "RGB"),
    "grey PNG": (encode_png(CHINA[..., 0].copy()), "PNG", "L"),
    "alpha": (encoded(with_alpha(), "PNG"), "PNG", "RGB"),
    "palette": (encoded(Image.fromarray(CHINA).quantize(64), "PNG"), "PNG", "RGB"),
    "one bit": (encoded(Image.fromarray(CHINA).convert("1"), "PNG"), "PNG", "L"),
    "16 bit": (encoded(deep(), "PNG"), "PNG", "L"),
    "16-bit TIFF": (encoded(deep(), "TIFF"), "PNG", "L"),
    "BMP": (encoded(Image.fromarray(CHINA), "BMP"), "PNG", "RGB"),
    "PPM": (encoded(Image.fromarray(CHINA), "PPM"), "PNG", "RGB"),
    "animated GIF": (
        encoded(
            Image.fromarray(CHINA),
            "GIF",
            save_all=True,
            append_images=[Image.new("RGB", (640, 427), "blue")],
        ),
        "PNG",
        "RGB",
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_becomes_what_training_would_see_of_it(name: str) -> None:
    data, kind, mode = KINDS[name]
    small = shrunk(data, max_side=211)
    assert (opened(small).format, opened(small).mode) == (kind, mode)
    assert getattr(opened(small), "n_frames", 1) == 1
    whole = decode_image(data)
    expected = np.asarray(Image.fromarray(whole).resize((211, 141), Image.Resampling.BICUBIC))
    bound = 0 if kind == "PNG" else 4
    assert apart(decode_image(small), expected) <= bound


def test_chroma_is_halved_and_quality_is_heeded() -> None:
    data = jpeg(CHINA)
    for quality in (50, 90):
        small = opened(shrunk(data, max_side=300, quality=quality))
        again = opened(jpeg(np.asarray(small), quality=quality, subsampling="4:2:0"))
        assert small.quantization == again.quantization
        assert [layer[1:3] for layer in small.layer] == [(2, 2), (1, 1), (1, 1)]


def test_the_same_bytes_on_any_number_of_threads() -> None:
    images = [data for data, *_ in KINDS.values()]
    alone = [shrunk(data, max_side=150) for data in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: shrunk(data, max_side=150), images * 4))
    assert together == alone * 4


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["4:4:4", "progressive JPEG", "CMYK JPEG", "PNG", "palette"])
@pytest.mark.parametrize("side", [60, 10_000])
def test_what_is_bad_is_bad_reduced_or_not(name: str, side: int) -> None:
    data, *_ = KINDS[name]
    for cut in range(0, len(data), len(data) // 23):
        assert fault(data[:cut], side) == fault(data[:cut], None)
    assert fault(data[: len(data) // 2], side)


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(sorted(KINDS)),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6),
    first=st.booleans(),
)
def test_damage_anywhere_is_the_same_fault_or_none(
    name: str, changes: list[tuple[float, int]], first: bool
) -> None:
    damaged = bytearray(KINDS[name][0])
    for place, value in changes:
        damaged[int(place * (600 if first else len(damaged)))] = value
    assert fault(bytes(damaged), 60) == fault(bytes(damaged), None)


def fault(data: bytes, side: int | None) -> str:
    """What is said to be wrong with the bytes; empty if nothing is."""
    try:
        if side is None:
            decode_image(data)
        else:
            decode_image(shrunk(data, max_side=side))
    except BadSample as error:
        return "bad" if str(error) else "bad without a word"
    return ""


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_a_bad_sample(data: bytes) -> None:
    with pytest.raises(BadSample):
        shrunk(data, max_side=100)
