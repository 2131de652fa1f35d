"""A map of samples by their features, with a thumbnail of each where one points."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from pipeline.report.drawing.sprite import sprite
from pipeline.report.encoded_facts import EncodedFacts, EncodedSamples, PlanarMap
from pipeline.report.facts import RunFacts
from pipeline.report.sections.section import Section, rendered
from pipeline.views.arrays import Floats

SIDE = 600
"""Of the map's own coordinates."""

_MARGIN = 16
_TITLE = "Map of features"
_LETTERS = 60  # of a class's name


@dataclass(frozen=True, kw_only=True)
class _Dot:
    row: int  # in the sprite
    x: str
    y: str
    text: str


@dataclass(frozen=True, kw_only=True)
class _Group:
    name: str
    count: int
    colour: str
    dots: list[_Dot]


def map_section(run: RunFacts) -> Section:
    """The map, or why there is none."""
    found = run.encoded
    problem = found if isinstance(found, str) else found.map
    if isinstance(found, str) or isinstance(problem, str):
        body = rendered("embedding_map.html", problem=problem)
        return Section(anchor="map", title=_TITLE, body=body)
    return Section(anchor="map", title=_TITLE, body=_drawn(found, problem))


def _drawn(found: EncodedFacts, drawn: PlanarMap) -> Markup:
    samples = found.samples
    groups = _groups(samples, drawn)
    told = ", ".join(f"{group.name} {group.count:,}" for group in groups)
    return rendered(
        "embedding_map.html",
        problem=None,
        side=SIDE,
        groups=groups,
        sprite=sprite(samples.thumbnails),
        alt=f"{len(samples.sample_ids):,} samples on a plane, those of like features together, "
        f"in {len(groups)} groups: {told}",
        labelled=drawn.labelled,
        samples=samples,
        count=len(samples.sample_ids),
    )


def _groups(samples: EncodedSamples, drawn: PlanarMap) -> list[_Group]:
    x, y = _on_page(drawn)
    sizes = Counter(drawn.groups.tolist())
    groups = []
    for number, name in enumerate(drawn.names):
        rows = np.flatnonzero(drawn.groups == number).tolist()
        dots = [
            _Dot(
                row=row,
                x=f"{x[row]:.1f}",
                y=f"{y[row]:.1f}",
                text=_text(samples, row, None if drawn.labelled else name),
            )
            for row in rows
        ]
        colour = str(number) if number < drawn.own else "rest"
        groups.append(_Group(name=_short(name), count=sizes[number], colour=colour, dots=dots))
    return groups


def _text(samples: EncodedSamples, row: int, group: str | None) -> str:
    label = samples.labels[row] or group
    sample = f"sample {samples.sample_ids[row]}"
    return sample if label is None else f"{_short(label)}, {sample}"


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"


def _on_page(drawn: PlanarMap) -> tuple[Floats, Floats]:
    """Places in the map's own coordinates, equally enlarged in both directions."""
    low, high = drawn.places.min(axis=0), drawn.places.max(axis=0)
    scale = (SIDE - 2 * _MARGIN) / max(float((high - low).max()), 1e-9)
    x, y = ((drawn.places - (low + high) / 2) * scale + SIDE / 2).T
    return x, y
