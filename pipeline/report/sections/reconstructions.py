"""How well the finished run's decoder gives back the first samples."""

from __future__ import annotations

import math

import numpy as np

from pipeline.report.drawing.patch_triples import Triple, triple
from pipeline.report.drawing.pictures import tile
from pipeline.report.facts import Pixels, Reconstructions, RunFacts
from pipeline.report.sections.section import Section, rendered

_SIDE = 96  # pixels, about, of a picture: three samples fit beside each other


def reconstructions_section(run: RunFacts) -> Section | None:
    """Samples beside what the decoder makes of their codes, or why there are none."""
    found = run.reconstructions
    if found is None:
        return None
    if isinstance(found, str):
        body = rendered("reconstructions.html", problem=found)
    else:
        body = rendered(
            "reconstructions.html",
            problem=None,
            facts=_numbers(found),
            triples=_triples(found),
            grey=found.means.shape[-1] == 1,
        )
    return Section(anchor="reconstructions", title="Reconstructions", body=body)


def difference(image: Pixels, mean: Pixels) -> Pixels:
    """How far (S, S, C) a decoded image (S, S, C) is from an image (S, S, 3): black if not at all.

    Of one channel, it is from the mean of the image's.
    """
    target = image.mean(axis=2, keepdims=True) if mean.shape[2] == 1 else image
    return np.rint(np.abs(target - mean.astype(np.float64))).astype(np.uint8)


def _triples(found: Reconstructions) -> list[Triple]:
    triples = []
    for row, sample_id in enumerate(found.sample_ids):
        image, mean = found.images[row], found.means[row]
        pictures = (tile(part, _SIDE) for part in (image, mean, difference(image, mean)))
        triples.append(triple(sample_id, pictures, figures=_cost(found.nats[row], mean.size)))
    return triples


def _numbers(found: Reconstructions) -> list[tuple[str, str]]:
    height, width, channels = found.means.shape[1:]
    values = height * width * channels
    return [
        ("likelihood", found.likelihood),
        ("values", f"{height} × {width} × {channels} = {values:,} of an image"),
        ("-log p(x | z)", f"{_cost(found.nats.mean(), values)}, mean of these samples"),
        ("of a perfect decoder", f"{_cost(found.least_nats.mean(), values)}"),
    ]


def _cost(nats: float, values: int) -> str:
    return f"{nats:,.1f} nats, {nats / values / math.log(2):.3f} bits/value"
