"""Which patches of an image are alike to the finished encoder."""

from __future__ import annotations

import math

import matplotlib
import numpy as np

from pipeline.report.drawing.patch_triples import (
    Triple,
    area_of,
    grown,
    mixed,
    over_patches,
    patch_tile,
    triple,
)
from pipeline.report.drawing.pictures import png_text
from pipeline.report.facts import PatchSimilarity, Pixels, RunFacts
from pipeline.report.sections.section import Section, rendered
from pipeline.views.arrays import Bools, Floats
from pipeline.views.blocks import Grid

_HEAT = 0.7  # share of a map's colours, the rest is the picture
_FADED = 0.6  # contrast of the picture: colours must be as on the scale
_GREY = 128
_LEAST_SPAN = 0.1  # of the scale: patches that are all alike shall not look different
_SCALE_PIXELS = (12, 240)


def similarity_section(run: RunFacts) -> Section | None:
    """Maps of some patches' cosines with all patches, or why there are none."""
    found = run.similarity
    if found is None:
        return None
    if isinstance(found, str):
        body = rendered("similarity.html", problem=found)
    else:
        low = scale_start(found.cosines)
        body = rendered(
            "similarity.html",
            problem=None,
            triples=_triples(found, low),
            scale=png_text(_scale()),
            ticks=[f"{value:.2f}" for value in (low, (low + 1) / 2, 1.0)],
            queries=_queries(found),
        )
    return Section(anchor="similarity", title="Similarity of patches", body=body)


def scale_start(cosines: Floats) -> float:
    """Where the scale of colours begins, a tenth below all cosines; it ends at 1."""
    return min(math.floor(cosines.min() * 10) / 10, 1 - _LEAST_SPAN)


def heat_colours(cosines: Floats, low: float) -> Pixels:
    """Colours (..., 3) of cosines (...): dark ones at the start of the scale, light ones at 1."""
    values = (cosines - low) / (1 - low)
    colours: Pixels = matplotlib.colormaps["viridis"](values.clip(0, 1), bytes=True)[..., :3]
    return colours


def heat_map(tile: Pixels, cosines: Floats, grid: Grid, low: float) -> Pixels:
    """The colours of patches (n,) over a faded grey copy of a picture (height, width, 3)."""
    grey = np.rint(_GREY + _FADED * (tile.mean(axis=2, keepdims=True) - _GREY)).astype(np.uint8)
    heat = over_patches(heat_colours(cosines, low), grid, (len(tile), tile.shape[1]))
    return mixed(grey.repeat(3, axis=2), heat, _HEAT)


def marked(picture: Pixels, area: Bools) -> Pixels:
    """A picture with a white frame in a black one around an area."""
    framed = picture.copy()
    framed[grown(area, 3) & ~area] = 0
    framed[grown(area, 2) & ~area] = 255
    return framed


def _triples(found: PatchSimilarity, low: float) -> list[Triple]:
    triples = []
    for row, sample_id in enumerate(found.sample_ids):
        tile = patch_tile(found.images[row], found.grid)
        size = (len(tile), tile.shape[1])
        areas = [area_of(query, found.grid, size) for query in found.queries]
        plain, maps = tile, []
        for area, cosines in zip(areas, found.cosines[row], strict=True):
            plain = marked(plain, area)
            maps.append(marked(heat_map(tile, cosines, found.grid, low), area))
        triples.append(triple(sample_id, (plain, *maps)))
    return triples


def _queries(found: PatchSimilarity) -> list[tuple[int, int, float]]:
    """Row and column of each query, counted from 1, and its mean cosine with other patches."""
    patches = found.cosines.shape[2]
    means = []
    for number, query in enumerate(found.queries):
        others = np.delete(found.cosines[:, number], query, axis=1)
        means.append(float(others.mean()) if patches > 1 else math.nan)
    columns = found.grid[1]
    return [
        (int(query) // columns + 1, int(query) % columns + 1, mean)
        for query, mean in zip(found.queries, means, strict=True)
    ]


def _scale() -> Pixels:
    """The colours from the start of the scale to its end, over a middling grey, as in maps."""
    height, width = _SCALE_PIXELS
    line = heat_colours(np.linspace(0, 1, width), 0.0)
    return mixed(np.full((height, width, 3), _GREY, np.uint8), line[None], _HEAT)
