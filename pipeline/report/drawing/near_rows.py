"""Rows of a sample and those that are nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.drawing.pictures import tile
from pipeline.report.drawing.sprite import jpeg_text
from pipeline.report.facts import Pixels

_SIDE = 96  # pixels, about, of a picture


@dataclass(frozen=True, kw_only=True)
class NearTile:
    """A picture and what is said of it."""

    alt: str
    jpeg: str | None  # in base64; None: there is no picture
    label: str | None
    figure: str  # its cosine with the first of the row
    differs: bool = False  # whether its label is another than that of the first


def near_tile(
    sample_id: int,
    picture: Pixels | None,
    label: str | None,
    *,
    first: str | None = None,
    cosine: float | None = None,
) -> NearTile:
    """A sample of a row.

    Args:
        sample_id: of it.
        picture: (s, s, 3), if there is one.
        label: of it, if it has one.
        first: label of the row's first.
        cosine: with the row's first; None: it is the first.
    """
    what = f"Sample {sample_id}" if label is None else f"Sample {sample_id}, {label}"
    return NearTile(
        alt=what if cosine is None else f"{what}, cosine {cosine:.2f}",
        jpeg=None if picture is None else jpeg_text(tile(picture, _SIDE)),
        label=label,
        figure=f"id {sample_id}" if cosine is None else f"{cosine:.2f}",
        differs=cosine is not None and None not in (label, first) and label != first,
    )


NearRow = Sequence[NearTile]
"""The sample first, then the others, the nearest first."""
