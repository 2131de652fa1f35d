"""Large photographs reduced once, so that no epoch has to decode all of their pixels again."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from pipeline.data.decode import Pixels, decode_image, encode_png, image_size, is_lossless

QUALITY = 90
"""Of JPEGs that are written, 1 … 100; as cameras save theirs, at some 50 kB for 512 pixels."""

_FILTERED = 2.0  # times; the last reduction is by the filter, which aliases less than JPEG's own
_THINNEST = 16  # pixels; of a thinner image its block's padding would be a part that is seen


def shrunk(data: bytes, *, max_side: int, quality: int = QUALITY) -> bytes:
    """An encoded image whose longer side has at most so many pixels; smaller ones stay as they are.

    What training sees of it is what it would see of the original reduced: pixels are converted as
    `decode_image` does, and as there notes on orientation and colour profiles count for nothing, so
    none is written. Formats that keep every pixel become PNG, JPEG and WebP become JPEG with
    chroma at half the size; grey stays grey. A JPEG is decoded from its coefficients at the
    eighths of its size that are at least twice the result's, and reduced from there by Pillow's
    bicubic filter, whose support grows with the reduction and which counts in integers: the same
    image gives the same pixels on every machine, and the same bytes where Pillow is the same.
    Beside a full decode that is a third of the time, and what views differ by is JPEG's error.

    Args:
        data: what `decode_image` decodes.
        max_side: pixels of the longer side.
        quality: of a JPEG.

    Returns:
        An encoded image, or `data` itself.

    Raises:
        BadSample: where `decode_image` raises it.
    """
    height, width = image_size(data)
    longer = max(height, width)
    if longer <= max_side:
        decode_image(data)
        return data
    share = max(_FILTERED * max_side / longer, _THINNEST / min(height, width))
    eighths = min(8, math.ceil(8 * share))
    pixels = decode_image(data, eighths=eighths)
    whole = pixels.shape[:2] == (height, width)
    reduced = _reduce(
        pixels,
        covered=(width, height) if whole else (width * eighths / 8, height * eighths / 8),
        size=(_side(width, max_side, longer), _side(height, max_side, longer)),
    )
    return _encode(reduced, lossless=is_lossless(data), quality=quality)


def _side(side: int, max_side: int, longer: int) -> int:
    return max(1, round(side * max_side / longer))


def _reduce(pixels: Pixels, *, covered: tuple[float, float], size: tuple[int, int]) -> Pixels:
    """Pixels (H, W, 3) of which an image takes up width and height `covered`, at another size."""
    image = Image.fromarray(pixels)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=(0, 0, *covered)))


def _encode(pixels: Pixels, *, lossless: bool, quality: int) -> bytes:
    grey = bool((pixels == pixels[..., :1]).all())
    shown = pixels[..., 0] if grey else pixels
    if lossless:
        return encode_png(shown)
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()
