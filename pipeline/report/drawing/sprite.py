"""Many small pictures as one, so that a page with thousands of them stays small."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.report.facts import Pixels

MOST_BYTES = 2 << 20
"""Of a sprite, whatever is in the pictures."""

_QUALITIES = (82, 65, 45, 25)


@dataclass(frozen=True, kw_only=True)
class Sprite:
    """Pictures row by row."""

    jpeg: str  # in base64
    columns: int
    rows: int


def sprite(pictures: Pixels) -> Sprite:
    """Pictures (N, s, s, 3) as one, with less detail where it would have too many bytes."""
    count, side = len(pictures), pictures.shape[1]
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    whole = np.zeros((rows * columns, side, side, 3), np.uint8)
    whole[:count] = pictures
    sheet = whole.reshape(rows, columns, side, side, 3).swapaxes(1, 2)
    image = Image.fromarray(np.ascontiguousarray(sheet.reshape(rows * side, columns * side, 3)))
    return Sprite(jpeg=base64.b64encode(_bounded(image)).decode(), columns=columns, rows=rows)


def _bounded(image: Image.Image) -> bytes:
    while True:
        for quality in _QUALITIES:
            written = jpeg_bytes(image, quality)
            if len(written) <= MOST_BYTES:
                return written
        image = image.resize((-(-image.width // 2), -(-image.height // 2)), Image.Resampling.BOX)


def jpeg_text(picture: Pixels) -> str:
    """A picture (height, width, 3) as JPEG in base64."""
    return base64.b64encode(jpeg_bytes(Image.fromarray(np.ascontiguousarray(picture)))).decode()


def jpeg_bytes(image: Image.Image, quality: int = 88) -> bytes:
    """A picture as JPEG, with its colours in full detail."""
    written = io.BytesIO()
    image.save(written, format="JPEG", quality=quality, subsampling=0)
    return written.getvalue()
