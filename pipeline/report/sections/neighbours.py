"""Sheets of some samples, each with those that are nearest by features."""

from __future__ import annotations

from pipeline.report.drawing.near_rows import NearRow, near_tile
from pipeline.report.encoded_facts import EncodedFacts, Neighbours
from pipeline.report.facts import RunFacts
from pipeline.report.sections.section import Section, rendered


def neighbours_section(run: RunFacts) -> Section | None:
    """A row for each sample; None where no samples are encoded, as the map says."""
    if isinstance(run.encoded, str):
        return None
    found = run.encoded.neighbours
    problem = found if isinstance(found, str) else None
    body = rendered(
        "neighbours.html",
        problem=problem,
        rows=[] if isinstance(found, str) else _rows(run.encoded, found),
        agreement=None if isinstance(found, str) else found.agreement,
        count=len(run.encoded.samples.sample_ids),
        source=run.encoded.samples.source,
    )
    return Section(anchor="neighbours", title="Nearest neighbours", body=body)


def _rows(encoded: EncodedFacts, found: Neighbours) -> list[NearRow]:
    samples = encoded.samples
    rows: list[NearRow] = []
    for query, nearest, cosines in zip(
        found.queries.tolist(), found.nearest.tolist(), found.cosines.tolist(), strict=True
    ):
        first = samples.labels[query]
        tiles = [near_tile(int(samples.sample_ids[query]), samples.thumbnails[query], first)]
        tiles += [
            near_tile(
                int(samples.sample_ids[row]),
                samples.thumbnails[row],
                samples.labels[row],
                first=first,
                cosine=cosine,
            )
            for row, cosine in zip(nearest, cosines, strict=True)
        ]
        rows.append(tiles)
    return rows
