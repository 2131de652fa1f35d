"""The map of features: what points the same way lies together, landmarks or not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from pipeline.evaluation.planar_map import planar_map

pytestmark = pytest.mark.fast


def clusters(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(5, 16))
    labels = random.integers(0, 5, count)
    lengths = random.uniform(1, 100, (count, 1))  # direction counts, length does not
    features = lengths * (centres[labels] + 0.2 * random.normal(size=(count, 16)))
    return features.astype(np.float32), labels


@pytest.mark.parametrize("landmarks", [1000, 150])
def test_neighbours_on_the_map_are_of_the_same_cluster(landmarks: int) -> None:
    features, labels = clusters(400)
    places = planar_map(features, seed=0, landmarks=landmarks)
    assert (places.shape, places.dtype) == ((400, 2), np.float32)
    assert np.isfinite(places).all()
    found = KNeighborsClassifier(5).fit(places[::2], labels[::2]).score(places[1::2], labels[1::2])
    assert found > 0.95


def test_the_same_seed_gives_the_same_map() -> None:
    features, _ = clusters(60)
    one, again, other = (planar_map(features, seed=seed, landmarks=40) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_few_samples_have_places_of_their_own(count: int) -> None:
    features, _ = clusters(10)
    places = planar_map(features[:count], seed=0)
    assert len(np.unique(places, axis=0)) == len(places) == count


def test_features_that_are_zero_or_all_the_same_have_places() -> None:
    features, _ = clusters(60)
    features[:20] = 0
    assert np.isfinite(planar_map(features, seed=0)).all()
    for collapsed in (np.zeros((50, 8), np.float32), np.ones((50, 8), np.float32)):
        assert not planar_map(collapsed, seed=0).any()
