"""Pictures cut into the patches of a vision transformer, for sections to draw on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.report.drawing.pictures import beside, opaque, png_text, tile
from pipeline.report.facts import Pixels
from pipeline.views.arrays import Bools, Ints
from pipeline.views.blocks import Grid

_T = TypeVar("_T", bound=np.generic)

_SIDE = 160  # pixels, about, of a picture: two samples fit beside each other
_GAP = 2


@dataclass(frozen=True, kw_only=True)
class Triple:
    """Three pictures of a sample beside each other, as PNG in base64."""

    sample_id: int
    png: str
    width: int
    height: int
    figures: str = ""  # of the sample, for its caption


def triple(sample_id: int, pictures: Iterable[Pixels], *, figures: str = "") -> Triple:
    """Pictures (height, width, 3) of a sample, side by side."""
    whole = beside([opaque(picture) for picture in pictures], _GAP)
    height, width, _ = whole.shape
    return Triple(
        sample_id=sample_id, png=png_text(whole), width=width, height=height, figures=figures
    )


def patch_tile(view: Pixels, grid: Grid) -> Pixels:
    """A view (S, S, 3) for the page, (height, width, 3), every patch of the same whole pixels.

    A small view has each of its pixels as a square of them.
    """
    if len(view) <= _SIDE:
        return tile(view, _SIDE)
    height, width = (number * max(1, round(_SIDE / number)) for number in grid)
    return np.asarray(Image.fromarray(view).resize((width, height), Image.Resampling.BOX))


def over_patches(values: npt.NDArray[_T], grid: Grid, size: tuple[int, int]) -> npt.NDArray[_T]:
    """Values (n, ...) of patches, counted row by row, as a picture (height, width, ...)."""
    rows, columns = (np.arange(size[side]) * grid[side] // size[side] for side in (0, 1))
    return values[rows[:, None] * grid[1] + columns]


def area_of(patches: Ints, grid: Grid, size: tuple[int, int]) -> Bools:
    """Pixels (height, width) of some patches (K,)."""
    chosen = np.zeros(grid[0] * grid[1], dtype=np.bool_)
    chosen[patches] = True
    return over_patches(chosen, grid, size)


def edge_of(area: Bools, width: int) -> Bools:
    """The pixels of an area that are nearest to what is outside, in a line of some width."""
    return area & grown(np.logical_not(area), width, beyond=True)


def grown(area: Bools, by: int, *, beyond: bool = False) -> Bools:
    """An area and what is around it.

    Args:
        area: (height, width).
        by: pixels, in all eight directions.
        beyond: whether what is outside the picture belongs to the area.
    """
    square = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    padded = np.pad(area, by, constant_values=beyond).astype(np.uint8)
    return cv2.dilate(padded, square)[by:-by, by:-by] > 0


def mixed(below: Pixels, above: Pixels, share: float) -> Pixels:
    """Colours (..., 3) of two pictures, of which the one above has a share."""
    return np.rint(below * (1 - share) + above * share).astype(np.uint8)
