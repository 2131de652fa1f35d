"""What the finished run's decoder makes of codes that are no image's."""

from __future__ import annotations

from pipeline.report.drawing.pictures import beside, opaque, png_text, stacked, tile
from pipeline.report.facts import Pixels, PriorSamples, RunFacts
from pipeline.report.sections.section import Section, rendered

_SIDE = 80  # pixels, about, of a picture
_PER_ROW = 8
_GAP = 4


def prior_samples_section(run: RunFacts) -> Section | None:
    """A grid of images decoded from the prior, or why there is none."""
    found = run.prior_samples
    if found is None:
        return None
    if isinstance(found, str):
        body = rendered("prior_samples.html", problem=found)
    else:
        grid = prior_grid(found)
        body = rendered(
            "prior_samples.html",
            problem=None,
            png=png_text(grid),
            width=grid.shape[1],
            height=grid.shape[0],
            count=len(found.means),
            dimensions=found.width,
            seed=found.seed,
        )
    return Section(anchor="prior-samples", title="Samples from the prior", body=body)


def prior_grid(found: PriorSamples) -> Pixels:
    """A picture of all of them, (height, width, 4) uint8, row by row; transparent between them."""
    tiles = [opaque(tile(mean, _SIDE)) for mean in found.means]
    rows = [beside(tiles[at : at + _PER_ROW], _GAP) for at in range(0, len(tiles), _PER_ROW)]
    return stacked(rows, _GAP)
