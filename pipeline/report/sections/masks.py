"""What a masked objective sees of the first samples, and what it has to predict of them."""

from __future__ import annotations

import numpy as np

from pipeline.report.drawing.patch_triples import (
    Triple,
    area_of,
    edge_of,
    mixed,
    patch_tile,
    triple,
)
from pipeline.report.facts import FirstMasks, Pixels, RunFacts
from pipeline.report.sections.section import Section, rendered
from pipeline.views.arrays import Bools, Ints

# Okabe and Ito's, which people with any colour vision can tell apart.
BLOCK_COLOURS = np.array(
    [
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (204, 121, 167),
        (213, 94, 0),
        (0, 114, 178),
        (240, 228, 66),
    ],
    np.uint8,
)
HIDDEN = np.array([(104,) * 3, (136,) * 3], np.uint8)  # stripes in place of what is not seen
_STRIPE = 4
_EDGE = 1
_TINT = 0.6
_TARGETS_PALE = 0.4  # else tints of dark pictures could not be told apart
_OTHERS_PALE = 0.8
_PAPER = np.full(3, 236, np.uint8)


def masks_section(run: RunFacts) -> Section | None:
    """Samples with their context and their target blocks, or why there are none."""
    if run.masks is None:
        return None
    if isinstance(run.masks, str):
        body = rendered("masks.html", problem=run.masks)
    else:
        body = rendered(
            "masks.html",
            problem=None,
            facts=_numbers(run.masks),
            triples=_triples(run.masks),
            mode=run.masks.mode,
        )
    return Section(anchor="masks", title="Masks", body=body)


def context_picture(tile: Pixels, area: Bools) -> Pixels:
    """A picture (height, width, 3) of which only an area (height, width) is visible."""
    return np.where(area[..., None], tile, HIDDEN[_stripes(area) % len(HIDDEN)])


def targets_picture(tile: Pixels, areas: Bools) -> Pixels:
    """A pale picture (height, width, 3) with areas (V, height, width) in colours of their own.

    Where areas overlap, and where their edges do, their colours alternate in stripes.
    """
    edges = np.stack([edge_of(area, _EDGE) for area in areas])
    tinted = mixed(mixed(tile, _PAPER, _TARGETS_PALE), _colours(areas), _TINT)
    picture = np.where(np.any(areas, axis=0)[..., None], tinted, mixed(tile, _PAPER, _OTHERS_PALE))
    return np.where(np.any(edges, axis=0)[..., None], _colours(edges), picture)


def _colours(layers: Bools) -> Pixels:
    """The colour (height, width, 3) of one of the layers (V, height, width) that have a pixel."""
    turn = _stripes(layers[0]) % np.maximum(layers.sum(axis=0), 1)
    chosen = layers & (layers.cumsum(axis=0) - 1 == turn)
    return BLOCK_COLOURS[chosen.argmax(axis=0) % len(BLOCK_COLOURS)]


def _stripes(picture: Bools) -> Ints:
    """The number (height, width) of the diagonal stripe in which a pixel lies."""
    height, width = picture.shape
    return (np.arange(height)[:, None] + np.arange(width)) // _STRIPE


def _triples(first: FirstMasks) -> list[Triple]:
    found = []
    for row, sample_id in enumerate(first.sample_ids):
        tile = patch_tile(first.views[row], first.grid)
        context, *targets = (
            area_of(patches, first.grid, (len(tile), tile.shape[1]))
            for patches in (first.masks.context[row], *first.masks.blocks(row))
        )
        pictures = (tile, context_picture(tile, context), targets_picture(tile, np.stack(targets)))
        found.append(triple(sample_id, pictures))
    return found


def _numbers(first: FirstMasks) -> list[tuple[str, str]]:
    rows, columns = first.grid
    seen, patches = first.masks.context.shape[1], rows * columns
    sizes = first.masks.sizes
    hidden = np.mean(
        [len(np.unique(np.concatenate(first.masks.blocks(row)))) for row in range(len(sizes))]
    )
    return [
        ("grid", f"{rows} × {columns} patches"),
        ("context", f"{seen} of {patches} patches ({seen / patches:.0%})"),
        (
            "targets",
            f"{sizes.shape[1]} blocks of {_span(sizes)} patches, {sizes.mean():.1f} on average",
        ),
        ("targets together", f"{hidden:.1f} of {patches} patches, as blocks may overlap"),
        ("mode", first.mode),
    ]


def _span(sizes: Ints) -> str:
    least, most = sizes.min(), sizes.max()
    return f"{least}" if least == most else f"{least} to {most}"
