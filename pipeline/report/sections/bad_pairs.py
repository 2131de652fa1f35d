"""The samples that the miner and the arbiter find bad, the worst of each sort."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pipeline.pairs.worst import OUTLYING
from pipeline.report.drawing.near_rows import NearRow, near_tile
from pipeline.report.drawing.pictures import png_text, tile
from pipeline.report.facts import BadPairs, BadSort, ListedSample, Pixels, RunFacts
from pipeline.report.sections.section import Section, rendered

SHOWN = 12
"""Samples of each sort with a picture."""

_SIDE = 144  # pixels, about, of a picture
_ABOUT = {
    "noisy": "Their losses were far below those of all others: pairs that are trivially easy, "
    "such as noise or a pattern that both views share.",
    "faulty": "Their losses were far above those of all others: pairs that cannot agree, as what "
    "matters in the image is lost, or that are like none of the rest.",
    "outlier": f"The arbiter weighed them least: {OUTLYING:g} deviations or more below the mean of "
    "all samples' weights. Their views lie further apart than other samples' do.",
}


@dataclass(frozen=True, kw_only=True)
class _Picture:
    sample: ListedSample
    caption: str
    png: str | None = None
    size: tuple[int, int] = (0, 0)
    """Width and height in pixels."""


def bad_pairs_section(run: RunFacts) -> Section | None:
    """Pictures and a table of each sort, or why there are none; None where nothing weighs pairs."""
    found = run.bad_pairs
    if found is None:
        return None
    if isinstance(found, str):
        body = rendered("bad_pairs.html", problem=found)
    else:
        body = rendered(
            "bad_pairs.html",
            problem=None,
            found=found,
            nearest_problem=found.nearest if isinstance(found.nearest, str) else None,
            pictures_problem=found.images if isinstance(found.images, str) else None,
            sorts=[
                (
                    sort,
                    heading_of(sort, found),
                    _ABOUT[sort.name],
                    _pictures(sort, found),
                    _near(sort, found),
                )
                for sort in found.sorts
            ],
            arbitrated=any(sort.name == "outlier" for sort in found.sorts),
            setting=shlex.quote(f"data.exclude={found.location}"),
        )
    return Section(anchor="bad-pairs", title="Bad pairs", body=body)


def heading_of(sort: BadSort, found: BadPairs) -> str:
    """How many samples are of a sort."""
    names = {"noisy": "Noisy", "faulty": "Faulty", "outlier": "Outliers"}
    share = f" ({sort.total / found.known:.2%})" if sort.total else ""
    return f"{names[sort.name]}: {sort.total:,} of {found.known:,} samples{share}"


def caption_of(sample: ListedSample, sort: BadSort) -> str:
    """What makes a sample one of its sort."""
    if sort.name == "outlier" and sample.arbiter_weight is not None:
        return f"weight {sample.arbiter_weight:.3f}"
    return f"{sample.deviations:+.1f} deviations".replace("-", "−")


def _pictures(sort: BadSort, found: BadPairs) -> list[_Picture]:
    return [
        _picture(
            sample,
            caption_of(sample, sort),
            None if isinstance(found.images, str) else found.images.get(sample.sample_id),
        )
        for sample in sort.listed[:SHOWN]
    ]


def _near(sort: BadSort, found: BadPairs) -> list[NearRow]:
    """Of each of the worst that it is known of, the sample and what lies nearest."""
    if isinstance(found.nearest, str):
        return []
    rows: list[NearRow] = []
    for sample in sort.listed:
        near = found.nearest.get(sample.sample_id)
        if near is None:
            continue
        itself, *others = near
        row = [near_tile(itself.sample_id, itself.thumbnail, itself.label)]
        row += [
            near_tile(n.sample_id, n.thumbnail, n.label, first=itself.label, cosine=n.cosine)
            for n in others
        ]
        rows.append(row)
    return rows


def _picture(sample: ListedSample, caption: str, image: Pixels | None) -> _Picture:
    if image is None:
        return _Picture(sample=sample, caption=caption)
    drawn = tile(image, _SIDE)
    return _Picture(sample=sample, caption=caption, png=png_text(drawn), size=drawn.shape[1::-1])
