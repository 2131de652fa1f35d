"""What lies, for the finished run's decoder, between one sample and another."""

from __future__ import annotations

from pipeline.report.drawing.pictures import beside, opaque, png_text, stacked, tile
from pipeline.report.facts import Interpolations, Pixels, RunFacts
from pipeline.report.sections.section import Section, rendered

_SIDE = 80  # pixels, about, of a picture: ten of them are as wide as the page
_GAP = 2
_BESIDE_ENDS = 10
_BETWEEN_ROWS = 8


def interpolations_section(run: RunFacts) -> Section | None:
    """Paths between samples, or why there are none."""
    found = run.interpolations
    if found is None:
        return None
    if isinstance(found, str):
        body = rendered("interpolations.html", problem=found)
    else:
        grid = interpolations_grid(found)
        body = rendered(
            "interpolations.html",
            problem=None,
            png=png_text(grid),
            width=grid.shape[1],
            height=grid.shape[0],
            pairs=found.sample_ids,
            steps=found.means.shape[1],
        )
    return Section(anchor="interpolations", title="Interpolations", body=body)


def interpolations_grid(found: Interpolations) -> Pixels:
    """A picture of all paths, (height, width, 4) uint8: a row each, between its true images."""
    return stacked(
        [_row(images, means) for images, means in zip(found.images, found.means, strict=True)],
        _BETWEEN_ROWS,
    )


def _row(images: Pixels, means: Pixels) -> Pixels:
    start, end = (opaque(tile(image, _SIDE)) for image in images)
    path = beside([opaque(tile(mean, _SIDE)) for mean in means], _GAP)
    return beside([start, path, end], _BESIDE_ENDS)
