"""Bytes to RGB pixels; a fault in the bytes is an error of its own, never a silent grey patch."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is read; Pillow knows more, some by programs that should not see a data set's bytes."""

MAX_PIXELS = 1 << 27  # 128 megapixels: beyond a camera's image, below what would exhaust a worker

_JPEG_START = b"\xff\xd8\xff"
_PNG_START = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR"
_PNG_HEADER_END = 33  # bytes
_PLAIN_CHUNKS = frozenset(
    (b"IHDR", b"IDAT", b"IEND", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"sRGB", b"gAMA")
)


class BadSample(Exception):
    """A fault that lies in the bytes, so that reading again would meet it again."""


def decode_image(data: bytes, *, eighths: int = 8) -> Pixels:
    """Decode an encoded image.

    Grey, alpha, palette, CMYK and 16-bit images are converted; the first frame of an animation is
    taken. Notes on orientation and colour profiles are not heeded. The size is read from the header
    before anything is decoded.

    Args:
        data: a JPEG, PNG, or anything else that Pillow reads.
        eighths: of its sides that a JPEG is decoded to, 1 … 8, rounded up; from its coefficients,
            which takes less time and memory than reducing its pixels. Others, and the rare JPEGs
            that only Pillow reads, are decoded whole.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        BadSample: the bytes are no image, a damaged one, or one of more than 128 megapixels.
    """
    if not data:
        raise BadSample("empty file")
    if data.startswith(_JPEG_START):
        return _decode_jpeg(data, eighths)
    if _is_plain_png(data):
        return _decode_plain_png(data)
    return _decode_other(data)


def decode_parts(encoded: Sequence[bytes], names: Sequence[str]) -> tuple[Pixels, ...]:
    """Decode the images of a sample; one that cannot be decoded makes the sample bad.

    Args:
        encoded: its images.
        names: of them; none if it is one image.

    Raises:
        BadSample: an image cannot be decoded, with its name.
    """
    if not names:
        return tuple(decode_image(data) for data in encoded)
    return tuple(_decode_part(*part) for part in zip(names, encoded, strict=True))


def _decode_part(name: str, data: bytes) -> Pixels:
    try:
        return decode_image(data)
    except BadSample as error:
        raise BadSample(f"{name}: {error}") from error


def image_size(data: bytes) -> tuple[int, int]:
    """Height and width of an encoded image, from its header: the first few kilobytes mostly do.

    They do not of WebP, nor of a TIFF whose header is its end.

    Raises:
        BadSample: there is no header in these bytes, or it says more than 128 megapixels.
    """
    if data.startswith(_JPEG_START) and (header := _jpeg_header(data)):
        return header[:2]
    if data.startswith(_PNG_START) and len(data) >= _PNG_HEADER_END:
        return _png_size(data)
    with _opened(data) as image:
        return image.height, image.width


def is_lossless(data: bytes) -> bool:
    """Whether an image's format is one that keeps every pixel: all but JPEG and WebP."""
    return not data.startswith(_JPEG_START) and data[8:12] != b"WEBP"


def _jpeg_header(data: bytes) -> tuple[int, int, str] | None:
    """Height, width and colours; None of rare chroma samplings among others, left to Pillow."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):
        return None
    _check_size(height, width)
    return height, width, colours


def _decode_jpeg(data: bytes, eighths: int) -> Pixels:
    header = _jpeg_header(data)
    if header is None or header[2] in ("CMYK", "YCCK"):
        return _decode_other(data)
    height, width = (-(-side * eighths // 8) for side in header[:2])
    try:
        return np.asarray(
            simplejpeg.decode_jpeg(data, colorspace="RGB", min_height=height, min_width=width)
        )
    except ValueError as error:
        raise BadSample(f"damaged JPEG: {error}") from error


def _is_plain_png(data: bytes) -> bool:
    """Whether this is an intact PNG of 8-bit grey or RGB without transparency or animation.

    OpenCV reads those to Pillow's very pixels, several times as fast where images are small. What
    is damaged or out of the ordinary is left to Pillow, which says what is wrong with it.
    """
    if data[:16] != _PNG_START or len(data) < _PNG_HEADER_END:
        return False
    depth, colour_type, _, _, interlace = data[24:29]
    if depth != 8 or colour_type not in (0, 2) or interlace:
        return False
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if name not in _PLAIN_CHUNKS or end + 4 > len(data):
            return False
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            return False
        if name == b"IEND":
            return True
        at = end + 4
    return False


def _decode_plain_png(data: bytes) -> Pixels:
    _png_size(data)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    return _decode_other(data) if pixels is None else np.asarray(pixels)


def _png_size(data: bytes) -> tuple[int, int]:
    """Height and width of a PNG whose header is whole."""
    width, height = struct.unpack_from(">II", data, 16)
    _check_size(height, width)
    return height, width


def _decode_other(data: bytes) -> Pixels:
    with _opened(data) as image:
        return to_rgb(image)


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """An image by Pillow, of which so far only the header has been read."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.height, image.width)
            yield image
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
