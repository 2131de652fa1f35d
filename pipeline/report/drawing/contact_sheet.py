"""The worst samples as one picture with captions, to be looked at without the page."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.report.drawing.pictures import tile
from pipeline.report.facts import BadPairs, BadSort, ListedSample, Pixels
from pipeline.report.sections.bad_pairs import SHOWN, caption_of, heading_of

_PER_ROW = 6
_SIDE = 144
_GAP = 16
_LINE = 17
_HEADING = 34
_CAPTION_LINES = 3
_WIDTH = _PER_ROW * (_SIDE + _GAP) + _GAP
_PAPER, _INK, _QUIET, _EDGE = "#ffffff", "#1c1e21", "#5a6068", "#9aa0a8"


def contact_sheet(found: BadPairs) -> Pixels:
    """Of each sort a heading and the worst samples, (height, width, 3) uint8.

    A sample whose picture is not there has an empty square.
    """
    parts = [_part(sort, found) for sort in found.sorts]
    return np.concatenate([np.asarray(part) for part in parts])


def _part(sort: BadSort, found: BadPairs) -> Image.Image:
    shown = sort.listed[:SHOWN]
    cell = _SIDE + _CAPTION_LINES * _LINE + _GAP
    rows = -(-len(shown) // _PER_ROW)
    part = Image.new("RGB", (_WIDTH, _GAP + _HEADING + rows * cell), _PAPER)
    draw = ImageDraw.Draw(part)
    draw.text((_GAP, _GAP), heading_of(sort, found), fill=_INK, font=_font(18))
    for number, sample in enumerate(shown):
        left = _GAP + number % _PER_ROW * (_SIDE + _GAP)
        top = _GAP + _HEADING + number // _PER_ROW * cell
        _draw_sample(part, sample, sort, found, (left, top))
    return part


def _draw_sample(
    part: Image.Image, sample: ListedSample, sort: BadSort, found: BadPairs, at: tuple[int, int]
) -> None:
    draw = ImageDraw.Draw(part)
    left, top = at
    image = None if isinstance(found.images, str) else found.images.get(sample.sample_id)
    if image is not None:
        picture = Image.fromarray(np.ascontiguousarray(tile(image, _SIDE)))
        height = round(_SIDE * image.shape[0] / image.shape[1])  # less of images side by side
        shown = picture.resize((_SIDE, height), Image.Resampling.NEAREST)
        part.paste(shown, (left, top + (_SIDE - height) // 2))
    draw.rectangle((left - 1, top - 1, left + _SIDE, top + _SIDE), outline=_EDGE)
    lines = (f"id {sample.sample_id}", sample.key, caption_of(sample, sort))
    for number, line in enumerate(lines):
        ink = _QUIET if number == 1 else _INK
        place = (left, top + _SIDE + 4 + number * _LINE)
        draw.text(place, _fitted(line), fill=ink, font=_font(12))


def _fitted(line: str) -> str:
    """A line that is as wide as a picture at most, without its middle if it was wider."""
    line = " ".join(line.split())
    font, kept = _font(12), len(line)
    fitted = line
    while font.getlength(fitted) > _SIDE:
        kept -= 1
        fitted = f"{line[: kept // 2]}…{line[len(line) - (kept - kept // 2) :]}"
    return fitted


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings, so that keys in most scripts can be read."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, size)
