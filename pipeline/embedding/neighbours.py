"""Nearest neighbours of vectors by cosine: exact for some ten thousand, by trees of more."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]

_EXACT = 20_000  # from where on trees are several times as fast, and find 97 % or more
_TOGETHER = 1024
_TREES = 50


def nearest_neighbours(vectors: Vectors, *, count: int, seed: int, jobs: int = 1) -> Found:
    """The nearest others of each vector by cosine.

    Of more than 20,000 vectors they come from Annoy's trees (Bernhardsson, 2018), which miss a few.

    Args:
        vectors: (N, D), finite.
        count: of each vector; fewer where there are no more.
        seed: of the trees.
        jobs: threads.

    Returns:
        Rows (N, k) int64, nearest first, and cosine distances (N, k) float32, where k is the
        smaller of count and N - 1. A zero is 1 away from everything.
    """
    count = max(0, min(count, len(vectors) - 1))
    if not count:
        return np.zeros((len(vectors), 0), np.int64), np.zeros((len(vectors), 0), np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    rows = _exact(units, count) if len(units) <= _EXACT else _by_trees(units, count, seed, jobs)
    distances = np.empty(rows.shape, dtype=np.float32)
    for start in range(0, len(units), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        distances[part] = 1 - np.einsum("nd,nkd->nk", units[part], units[rows[part]])
    order = np.argsort(distances, axis=1, kind="stable")
    ordered = np.take_along_axis(distances, order, axis=1)
    return np.take_along_axis(rows, order, axis=1), np.maximum(ordered, 0)


def _exact(units: Vectors, count: int) -> npt.NDArray[np.int64]:
    rows = np.empty((len(units), count), dtype=np.int64)
    for start in range(0, len(units), _TOGETHER):
        part = units[start : start + _TOGETHER]
        away = -(part @ units.T)
        here = np.arange(len(part))
        away[here, start + here] = np.inf
        rows[start : start + _TOGETHER] = np.argpartition(away, count - 1, axis=1)[:, :count]
    return rows


def _by_trees(units: Vectors, count: int, seed: int, jobs: int) -> npt.NDArray[np.int64]:
    from openTSNE.dependencies.annoy import AnnoyIndex

    trees: Any = AnnoyIndex(units.shape[1], "angular")
    trees.set_seed(seed)
    for row, unit in enumerate(units):
        trees.add_item(row, unit)
    trees.build(_TREES, n_jobs=jobs)
    rows = np.empty((len(units), count), dtype=np.int64)
    for row in range(len(units)):
        # A vector is not always the first to be found: another may be the same.
        found = [other for other in trees.get_nns_by_item(row, count + 1) if other != row]
        rows[row] = found[:count]
    return rows
