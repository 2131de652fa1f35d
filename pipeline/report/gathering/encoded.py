"""What a report shows of features: a map of samples, which are nearest, and their spectrum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans

from pipeline.evaluation.panel.feature_arrays import unit_rows
from pipeline.evaluation.panel.spectrum import covariance_spectrum
from pipeline.evaluation.planar_map import planar_map
from pipeline.recipe import Recipe
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.report.encoded_facts import (
    Agreement,
    EncodedFacts,
    EncodedSamples,
    Neighbours,
    PlanarMap,
    Spectrum,
)
from pipeline.report.gathering.encoded_samples import (
    Encoded,
    Features,
    affordable,
    encoded,
    test_set,
    training_set,
)
from pipeline.report.gathering.pictures import or_reason
from pipeline.views.arrays import Floats, Ints

MOST_GROUPS = 10
"""Groups with a colour of their own."""

_QUERIES = 12
_NEAREST = 5
_OTHERS = "other classes"
_NO_LABEL = "no label"


def shown_samples(
    recipe: Recipe, encoder: PackagedEncoder | str, excluded: Ints | str
) -> Encoded | str:
    """Some of what probes are scored on if the recipe names it, else of the training data.

    Args:
        recipe: of the run.
        encoder: that the run gave, or why there is none.
        excluded: ids that the run left out, or why its samples cannot be read.
    """
    if isinstance(encoder, str):
        return encoder
    return or_reason(lambda: _shown(recipe, encoder, excluded), "no sample can be encoded")


def _shown(recipe: Recipe, encoder: PackagedEncoder, excluded: Ints | str) -> Encoded | str:
    chosen = test_set(recipe)
    if chosen is None:
        if isinstance(excluded, str):
            return excluded
        chosen = training_set(recipe, excluded)
    return encoded(encoder, chosen, chosen.spread(affordable(encoder)))


def encoded_facts(found: Encoded | str, *, seed: int) -> EncodedFacts | str:
    """What there is to show of encoded samples, or why there are none."""
    if isinstance(found, str):
        return found
    return EncodedFacts(
        samples=found.samples,
        map=or_reason(lambda: mapped(found, seed=seed), "laying them out failed"),
        neighbours=or_reason(lambda: neighbours(found), "comparing them failed"),
        spectrum=or_reason(lambda: _spectrum(found.features), "decomposing them failed"),
    )


def mapped(found: Encoded, *, seed: int) -> PlanarMap:
    """Samples on a plane, in groups by class, or by k-means where none has a label."""
    labels = found.samples.labels
    labelled = any(label is not None for label in labels)
    groups, names, own = _classes(labels) if labelled else _clusters(found.features, seed)
    return PlanarMap(
        places=planar_map(found.features, seed=seed).astype(np.float64),
        groups=groups,
        names=names,
        own=own,
        labelled=labelled,
    )


def _clusters(features: Features, seed: int) -> tuple[Ints, Sequence[str], int]:
    """Groups of like features, the largest first."""
    count = min(MOST_GROUPS, len(features))
    fitted = KMeans(n_clusters=count, n_init=4, random_state=seed)
    clusters = fitted.fit_predict(unit_rows(features.astype(np.float64)))
    by_size = [int(cluster) for cluster, _ in Counter(clusters.tolist()).most_common()]
    places = np.array([by_size.index(cluster) for cluster in clusters.tolist()])
    return places, [f"group {number + 1}" for number in range(len(by_size))], len(by_size)


def _classes(labels: Sequence[str | None]) -> tuple[Ints, Sequence[str], int]:
    """The most frequent classes, by name, and all others as one."""
    counts = Counter(label for label in labels if label is not None)
    by_count = sorted(counts, key=lambda label: (-counts[label], label))
    fits = len(by_count) <= MOST_GROUPS
    own = sorted(by_count if fits else by_count[: MOST_GROUPS - 1])
    names = [*own, *([] if fits else [_OTHERS]), *([_NO_LABEL] if None in labels else [])]
    place = {label: own.index(label) for label in own}
    rest = len(own)
    groups = [len(names) - 1 if label is None else place.get(label, rest) for label in labels]
    return np.array(groups), names, rest


def neighbours(found: Encoded) -> Neighbours | str:
    """Some samples of many classes, and what is nearest to each."""
    count = len(found.features)
    if count < 2:
        return "there is one sample alone."
    unit = unit_rows(found.features.astype(np.float64))
    nearest = min(_NEAREST, count - 1)
    rows, cosines = nearest_rows(unit, unit, nearest, of_themselves=True)
    queries = _queries(found.samples)
    return Neighbours(
        queries=queries,
        nearest=rows[queries],
        cosines=cosines[queries],
        agreement=_agreement(found.samples.labels, rows),
    )


def nearest_rows(
    queries: Floats, rows: Floats, count: int, *, of_themselves: bool = False
) -> tuple[Ints, Floats]:
    """The nearest rows of unit length, the nearest first, and their cosines; (Q, K) both.

    Args:
        queries: (Q, D) of unit length.
        rows: (N, D) of unit length.
        count: K, at most N, or N - 1 of themselves.
        of_themselves: whether queries are the rows, and none is to be its own neighbour.
    """
    cosines = queries @ rows.T
    if of_themselves:
        np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosines, order, axis=1)


def _queries(samples: EncodedSamples) -> Ints:
    """Rows from many classes: the first of each, beginning with the largest, then the second."""
    labels = samples.labels
    if not any(label is not None for label in labels):
        count = min(_QUERIES, len(labels))
        return np.linspace(0, len(labels) - 1, count).astype(np.int64)
    sizes, before = Counter(labels), Counter[str | None]()
    ranked = []
    for row, label in enumerate(labels):
        if label is not None:
            ranked.append((before[label], -sizes[label], label, row))
            before[label] += 1
    return np.array([row for *_, row in sorted(ranked)[:_QUERIES]], dtype=np.int64)


def _agreement(labels: Sequence[str | None], rows: Ints) -> Agreement | None:
    known = [row for row, label in enumerate(labels) if label is not None]
    if len(known) < max(2, len(labels) // 2):
        return None
    same = [labels[other] == labels[row] for row in known for other in rows[row]]
    sizes = Counter(labels[row] for row in known).values()
    chance = sum(size * (size - 1) for size in sizes) / (len(known) * (len(labels) - 1))
    return Agreement(share=sum(same) / len(same), by_chance=chance)


def _spectrum(features: Features) -> Spectrum | str:
    if len(features) < 2:
        return "there is one sample alone."
    return Spectrum(eigenvalues=covariance_spectrum(features), width=features.shape[1])
