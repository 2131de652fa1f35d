"""Bytes to RGB pixels; a fault in the bytes is an error of its own, never a silent grey patch."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is read; Pillow knows more, some by programs that should not see a data set's bytes."""

MAX_PIXELS = 1 << 27  # 128 megapixels: beyond a camera's image, below what would exhaust a worker


class BadSample(Exception):
    """A fault that lies in the bytes, so that reading again would meet it again."""


def decode_image(data: bytes) -> Pixels:
    """Decode an encoded image.

    Grey, alpha, palette, CMYK and 16-bit images are converted; the first frame of an animation is
    taken. The size is read from the header before anything is decoded.

    Args:
        data: a JPEG, PNG, or anything else that Pillow reads.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        BadSample: the bytes are no image, a damaged one, or one of more than 128 megapixels.
    """
    if not data:
        raise BadSample("empty file")
    if data[:3] == b"\xff\xd8\xff":
        return _decode_jpeg(data)
    return _decode_other(data)


def _decode_jpeg(data: bytes) -> Pixels:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):
        # Rare chroma samplings among them, which Pillow reads.
        return _decode_other(data)
    _check_size(height, width)
    if colours in ("CMYK", "YCCK"):
        return _decode_other(data)
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB"))
    except ValueError as error:
        raise BadSample(f"damaged JPEG: {error}") from error


def _decode_other(data: bytes) -> Pixels:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.height, image.width)
            return to_rgb(image)
    except BadSample:
        raise
    except UnidentifiedImageError as error:
        raise BadSample("not an image") from error
    except Exception as error:  # the bytes lie in memory: whatever Pillow meets is their fault
        raise BadSample(f"damaged image: {error}") from error


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise BadSample(f"{width} x {height} pixels, more than {MAX_PIXELS}")
    if not height * width:
        raise BadSample("no pixels")


def to_rgb(image: Image.Image) -> Pixels:
    """Pixels of a Pillow image as training sees them: (H, W, 3) uint8, alpha over white."""
    if image.mode.startswith("I;16") or image.mode == "I":
        deep = np.asarray(image).astype(np.uint32)
        grey = (deep >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def encode_png(pixels: Pixels) -> bytes:
    """Encode (H, W) or (H, W, 3) uint8 as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
