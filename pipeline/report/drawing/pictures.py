"""Pictures for the page: set side by side, written as text."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from pipeline.report.facts import Pixels


def png_text(picture: Pixels) -> str:
    """A picture as PNG in base64."""
    return base64.b64encode(png_bytes(picture)).decode()


def png_bytes(picture: Pixels) -> bytes:
    """A picture as PNG."""
    written = io.BytesIO()
    # Least bytes would take seconds of a run's end, and save a twentieth.
    Image.fromarray(picture).save(written, format="PNG", compress_level=4)
    return written.getvalue()


def tile(picture: Pixels, side: int) -> Pixels:
    """A picture (S, W, C) as (about side, side · W / S, 3), grey where C is 1.

    A small one has each of its pixels as a square of them.
    """
    coloured = np.broadcast_to(picture, (*picture.shape[:2], 3))
    size = len(picture)
    if size <= side:
        times = round(side / size)
        return coloured.repeat(times, axis=0).repeat(times, axis=1)
    reduced = Image.fromarray(np.ascontiguousarray(coloured))
    width = round(side * picture.shape[1] / size)
    return np.asarray(reduced.resize((width, side), Image.Resampling.BOX))


def opaque(picture: Pixels) -> Pixels:
    """A picture (height, width, 3) with an alpha channel."""
    return np.asarray(Image.fromarray(picture).convert("RGBA"))


def beside(pictures: list[Pixels], gap: int) -> Pixels:
    """Pictures (height, width, 4) from left to right; transparent between them."""
    return stacked([picture.swapaxes(0, 1) for picture in pictures], gap).swapaxes(0, 1)


def stacked(pictures: list[Pixels], gap: int) -> Pixels:
    """Pictures (height, width, 4) from top to bottom; transparent between them."""
    height = sum(map(len, pictures)) + gap * (len(pictures) - 1)
    width = max(picture.shape[1] for picture in pictures)
    whole = np.zeros((height, width, 4), np.uint8)
    top = 0
    for picture in pictures:
        whole[top : top + len(picture), : picture.shape[1]] = picture
        top += len(picture) + gap
    return whole
