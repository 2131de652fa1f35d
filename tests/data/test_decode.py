"""Whatever the bytes are, they come out as RGB pixels or as BadSample, never as anything else."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.decode import (
    BadSample,
    Pixels,
    decode_image,
    encode_png,
    image_size,
    is_lossless,
)

pytestmark = pytest.mark.fast

HEIGHT, WIDTH = 13, 18
JPEG_KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("RGB", {}),
    ("RGB", {"quality": 20, "subsampling": "4:4:4"}),
    ("RGB", {"quality": 95, "subsampling": "4:2:0"}),
    ("RGB", {"subsampling": "4:1:1"}),
    ("RGB", {"keep_rgb": True}),
    ("RGB", {"progressive": True}),
    ("RGB", {"optimize": True, "restart_marker_blocks": 1}),
    ("L", {}),
    ("CMYK", {}),
    ("CMYK", {"progressive": True}),
)


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture() -> Image.Image:
    return Image.fromarray(noise(HEIGHT, WIDTH, 3))


def by_pillow(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def assert_decodes_as_pillow(data: bytes, atol: int = 0) -> None:
    pixels = decode_image(data)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(pixels.astype(int), by_pillow(data).astype(int), atol=atol, rtol=0)


def png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(encoded(picture(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(("mode", "options"), JPEG_KINDS)
def test_a_jpeg_of_any_colours_decodes_as_pillow_decodes_it(
    mode: str, options: dict[str, Any]
) -> None:
    assert_decodes_as_pillow(encoded(picture().convert(mode), "JPEG", **options), atol=1)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_other_formats_decode_as_pillow_decodes_them(kind: str, mode: str) -> None:
    assert_decodes_as_pillow(encoded(picture().convert(mode), kind))


def test_lossless_formats_give_back_the_very_pixels() -> None:
    for kind in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(decode_image(encoded(picture(), kind)), noise(13, 18, 3))
    np.testing.assert_array_equal(
        decode_image(encoded(picture(), "WEBP", lossless=True)), noise(13, 18, 3)
    )


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_a_palette_is_looked_up(kind: str) -> None:
    assert_decodes_as_pillow(encoded(picture().quantize(16), kind))


def test_one_bit_images_become_black_and_white() -> None:
    assert_decodes_as_pillow(encoded(picture().convert("1"), "PNG"))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_keeps_its_high_byte(kind: str) -> None:
    deep = np.random.default_rng(1).integers(0, 1 << 16, (HEIGHT, WIDTH), dtype=np.uint16)
    pixels = decode_image(encoded(Image.fromarray(deep), kind))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], deep >> 8)


def test_alpha_is_laid_over_white() -> None:
    rgb, alpha = noise(HEIGHT, WIDTH, 3), noise(HEIGHT, WIDTH, seed=2)
    alpha[:4], alpha[-4:] = 0, 255
    rgba = Image.fromarray(np.dstack([rgb, alpha]))
    pixels = decode_image(encoded(rgba, "PNG"))
    share = alpha[..., None] / 255
    np.testing.assert_allclose(pixels, rgb * share + 255 * (1 - share), atol=1.01)
    assert (pixels[:4] == 255).all()
    np.testing.assert_array_equal(pixels[-4:], rgb[-4:])


def test_grey_with_alpha_is_laid_over_white() -> None:
    grey, alpha = noise(HEIGHT, WIDTH), noise(HEIGHT, WIDTH, seed=2)
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    share = alpha / 255
    expected = np.repeat((grey * share + 255 * (1 - share))[..., None], 3, axis=2)
    np.testing.assert_allclose(decode_image(encoded(image, "PNG")), expected, atol=1.01)


def test_the_transparent_entry_of_a_palette_is_white() -> None:
    image = picture().quantize(16)
    pixels = decode_image(encoded(image, "PNG", transparency=5))
    clear = np.asarray(image) == 5
    assert clear.any()
    assert (pixels[clear] == 255).all()
    np.testing.assert_array_equal(pixels[~clear], np.asarray(image.convert("RGB"))[~clear])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_several_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == 3
    pixels = decode_image(data).astype(int)
    np.testing.assert_allclose(pixels, np.broadcast_to([255, 0, 0], pixels.shape), atol=3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (7, 5, 3)])
def test_what_encode_png_wrote_is_read_back(shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    expected = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode_image(encode_png(pixels)), expected)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"just some text, much longer than a header would be",
        b"<!DOCTYPE html><html><body>404 not found</body></html>",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"\xff\xd8\xff" + bytes(500),
        np.random.default_rng(0).bytes(2000),
    ],
)
def test_what_is_no_image_is_a_bad_sample(data: bytes) -> None:
    with pytest.raises(BadSample):
        decode_image(data)


@pytest.mark.parametrize(("mode", "options"), JPEG_KINDS)
def test_a_jpeg_cut_anywhere_is_a_bad_sample(mode: str, options: dict[str, Any]) -> None:
    data = encoded(picture().convert(mode), "JPEG", **options)
    for cut in range(len(data)):
        with pytest.raises(BadSample):
            decode_image(data[:cut])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_cut_inside_their_pixels_are_bad_samples(kind: str) -> None:
    data = encoded(picture(), kind)
    for cut in range(0, len(data) - 24, 5):
        with pytest.raises(BadSample):
            decode_image(data[:cut])


@pytest.mark.parametrize("data", [png_claiming(60_000, 60_000), jpeg_claiming(65_000, 65_000)])
def test_a_bomb_is_refused_from_its_header_at_once_and_without_memory(data: bytes) -> None:
    started = time.process_time()
    tracemalloc.start()
    with pytest.raises(BadSample):
        decode_image(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
    assert time.process_time() - started < 1


def test_an_image_without_pixels_is_a_bad_sample() -> None:
    for data in (png_claiming(0, 10), png_claiming(10, 0), jpeg_claiming(10, 0)):
        for look in (decode_image, image_size):
            with pytest.raises(BadSample):
                look(data)


@pytest.mark.parametrize("eighths", range(1, 9))
@pytest.mark.parametrize(("mode", "options"), JPEG_KINDS)
def test_a_jpeg_is_decoded_to_eighths_of_its_size(
    mode: str, options: dict[str, Any], eighths: int
) -> None:
    data = encoded(Image.new("RGB", (301, 77), (30, 90, 160)).convert(mode), "JPEG", **options)
    pixels = decode_image(data, eighths=eighths)
    kept = 8 if mode == "CMYK" else eighths
    assert pixels.shape == (-(-77 * kept // 8), -(-301 * kept // 8), 3)
    np.testing.assert_allclose(pixels, decode_image(data)[: len(pixels), : pixels.shape[1]], atol=2)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "PPM"])
def test_the_size_is_told_from_the_first_bytes(kind: str) -> None:
    data = encoded(Image.fromarray(noise(130, 170, 3)), kind)
    assert image_size(data) == image_size(data[:2000]) == (130, 170)
    assert is_lossless(data) == (kind != "JPEG")


def test_webp_tells_its_size_from_the_whole_file_and_is_not_taken_for_lossless() -> None:
    data = encoded(Image.fromarray(noise(130, 170, 3)), "WEBP")
    assert image_size(data) == (130, 170)
    assert not is_lossless(data)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"no image"])
def test_no_size_is_told_of_what_has_no_header(data: bytes) -> None:
    with pytest.raises(BadSample):
        image_size(data)


VALID = {
    "jpeg": encoded(picture(), "JPEG"),
    "progressive": encoded(picture(), "JPEG", progressive=True),
    "cmyk": encoded(picture().convert("CMYK"), "JPEG"),
    "png": encoded(picture(), "PNG"),
    "palette": encoded(picture().quantize(16), "PNG", transparency=3),
}


@settings(max_examples=250, deadline=None)
@given(
    name=st.sampled_from(sorted(VALID)),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
    tail=st.binary(max_size=8),
)
def test_a_damaged_jpeg_or_png_gives_an_image_or_a_bad_sample_and_nothing_else(
    name: str, changes: list[tuple[float, int]], keep: float, tail: bytes
) -> None:
    damaged = bytearray(VALID[name])
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    data = bytes(damaged[: int(keep * len(damaged))]) + tail
    try:
        pixels = decode_image(data)
    except BadSample:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] == (3,)
