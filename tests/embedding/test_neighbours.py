"""Nearest neighbours, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from pipeline.embedding import neighbours
from pipeline.embedding.neighbours import nearest_neighbours

pytestmark = pytest.mark.fast


def vectors(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 12)).astype(np.float32)


def test_neighbours_are_those_of_scikit_learn() -> None:
    given = vectors(1500)
    rows, distances = nearest_neighbours(given, count=7, seed=0)
    searched = NearestNeighbors(n_neighbors=7, metric="cosine").fit(given.astype(np.float64))
    expected_distances, expected = searched.kneighbors()
    assert np.array_equal(rows, expected)
    np.testing.assert_allclose(distances, expected_distances, atol=1e-6)


def test_trees_find_almost_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given = np.concatenate([vectors(600), vectors(5)])  # five of them twice
    exact, distances = nearest_neighbours(given, count=7, seed=0)
    monkeypatch.setattr(neighbours, "_EXACT", 0)
    rows, found = nearest_neighbours(given, count=7, seed=0)
    recall = np.mean(
        [len({*a} & {*b}) / 7 for a, b in zip(rows.tolist(), exact.tolist(), strict=True)]
    )
    assert recall > 0.9
    assert not (rows == np.arange(len(given))[:, None]).any()
    assert (np.diff(found, axis=1) >= 0).all()
    assert (found >= distances - 1e-6).all()
    assert np.array_equal(rows[:5, 0], np.arange(600, 605))


@pytest.mark.parametrize(("count", "k"), [(0, 0), (1, 0), (2, 1), (5, 4)])
def test_few_vectors_have_few_neighbours(count: int, k: int) -> None:
    rows, distances = nearest_neighbours(vectors(count), count=15, seed=0)
    assert rows.shape == distances.shape == (count, k)


def test_a_zero_is_far_from_everything() -> None:
    given = vectors(5)
    given[2] = 0
    rows, distances = nearest_neighbours(given, count=4, seed=0)
    assert distances[2].tolist() == [1.0] * 4
    assert set(rows[2].tolist()) == {0, 1, 3, 4}
