"""The first samples of the run's order, as the network sees them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.report.drawing.pictures import beside, opaque, png_text, stacked
from pipeline.report.facts import FirstViews, Pixels, RunFacts
from pipeline.report.sections.section import Section, rendered

_PER_ROW = 6
_LARGEST_TILE = 128
_SMALLEST_TILE = 64
_GAP = 4
_CELL_GAP = 16


def views_section(run: RunFacts) -> Section:
    """A grid of samples and all of their views, or why there is none."""
    if isinstance(run.views, str):
        body = rendered("views.html", problem=run.views)
    else:
        sizes = [(block.shape[1], block.shape[2]) for block in run.views.blocks]
        grid = views_grid(run.views)
        body = rendered(
            "views.html",
            problem=None,
            png=png_text(grid),
            width=grid.shape[1],
            height=grid.shape[0],
            sizes=sizes,
            sample_ids=run.views.sample_ids,
            per_row=_PER_ROW,
        )
    return Section(anchor="views", title="Views as the network sees them", body=body)


def views_grid(views: FirstViews) -> Pixels:
    """A picture of all views, (height, width, 4) uint8; transparent between them.

    Samples stand side by side, each a column of its global views with the local ones below, as
    many in a line as fit and in proportion.
    """
    size = views.blocks[0].shape[2]
    cells = [
        _cell([block[row] for block in views.blocks], size) for row in range(len(views.sample_ids))
    ]
    lines = [beside(cells[at : at + _PER_ROW], _CELL_GAP) for at in range(0, len(cells), _PER_ROW)]
    return stacked(lines, _CELL_GAP)


def _cell(blocks: list[Pixels], size: int) -> Pixels:
    lines = []
    for block in blocks:
        tiles = [_tile(view, size) for view in block]
        in_line = max(1, _tile_width(size) // tiles[0].shape[1])
        lines += [beside(tiles[at : at + in_line], _GAP) for at in range(0, len(tiles), in_line)]
    return stacked(lines, _GAP)


def _tile_width(size: int) -> int:
    """Pixels that the picture gives to the side of a global view of some size."""
    return min(size, _LARGEST_TILE) if size >= _SMALLEST_TILE else size * -(-_SMALLEST_TILE // size)


def _tile(view: Pixels, global_size: int) -> Pixels:
    """A view, opaque; large ones reduced, small ones with every pixel as a square of them."""
    width = _tile_width(global_size)
    image = Image.fromarray(view)
    if width >= global_size:
        side, how = len(view) * (width // global_size), Image.Resampling.NEAREST
    else:
        side, how = max(1, round(len(view) * width / global_size)), Image.Resampling.BOX
    return opaque(np.asarray(image.resize((side, side), how)))
