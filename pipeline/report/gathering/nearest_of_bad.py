"""What lies nearest to the worst samples, by features: so that a person sees why they are bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.evaluation.panel.feature_arrays import unit_rows
from pipeline.recipe import Recipe
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.report.encoded_facts import Near
from pipeline.report.facts import BadPairs
from pipeline.report.gathering.encoded import nearest_rows
from pipeline.report.gathering.encoded_samples import (
    TRAINING,
    Encoded,
    Features,
    affordable,
    encoded,
    training_set,
)
from pipeline.report.gathering.pictures import or_reason

WITH_NEAREST = 4
"""Samples of each sort."""

_NEAREST = 5

NearOfEach = Mapping[int, Sequence[Near]]


def nearest_of_bad(
    found: BadPairs, recipe: Recipe, encoder: PackagedEncoder | str, shown: Encoded | str
) -> NearOfEach | str:
    """Each of the worst by its id, itself first, then the nearest of some training samples.

    Args:
        found: the bad pairs.
        recipe: of the run.
        encoder: that the run gave, or why there is none.
        shown: samples that are encoded already, of whatever set.
    """
    if isinstance(encoder, str):
        return encoder
    return or_reason(
        lambda: _nearest(found, recipe, encoder, shown), "what lies near them cannot be found"
    )


def _nearest(
    found: BadPairs, recipe: Recipe, encoder: PackagedEncoder, shown: Encoded | str
) -> NearOfEach:
    worst = {s.sample_id for sort in found.sorts for s in sort.listed[:WITH_NEAREST]}
    if not worst:
        return {}
    chosen = training_set(recipe, found.excluded)
    queries = encoded(encoder, chosen, np.array(sorted(worst), dtype=np.int64))
    pool = shown
    if isinstance(pool, str) or pool.samples.source != TRAINING:
        pool = encoded(encoder, chosen, chosen.spread(affordable(encoder)))
    return {
        sample_id: [_as_near(queries, row, 1.0), *_near(queries.features[row], sample_id, pool)]
        for row, sample_id in enumerate(queries.samples.sample_ids.tolist())
    }


def _near(features: Features, sample_id: int, pool: Encoded) -> list[Near]:
    others = np.flatnonzero(pool.samples.sample_ids != sample_id)
    rows, cosines = nearest_rows(
        unit_rows(features[None].astype(np.float64)),
        unit_rows(pool.features[others].astype(np.float64)),
        min(_NEAREST, len(others)),
    )
    return [
        _as_near(pool, int(row), float(cosine))
        for row, cosine in zip(others[rows[0]], cosines[0], strict=True)
    ]


def _as_near(of: Encoded, row: int, cosine: float) -> Near:
    samples = of.samples
    return Near(
        sample_id=int(samples.sample_ids[row]),
        cosine=cosine,
        label=samples.labels[row],
        thumbnail=samples.thumbnails[row],
    )
