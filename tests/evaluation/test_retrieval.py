"""Retrieval against scikit-learn, a slow loop, and the mean over random orders of equals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from pipeline.evaluation.tasks.estimate import bootstrap_estimate, mean_estimate
from pipeline.evaluation.tasks.retrieval import RANKS, retrieval_figures

pytestmark = pytest.mark.fast


def points(count: int, classes: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Small whole numbers: many similarities are equal."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    features = generator.integers(0, 2, (count, 4)) + (labels[:, None] == np.arange(4))
    return features.astype(np.float64), labels


def figures(gallery: np.ndarray, labels: np.ndarray, queries: np.ndarray, asked: np.ndarray):
    return retrieval_figures(
        torch.from_numpy(gallery).float(), labels, torch.from_numpy(queries).float(), asked
    )


def cosines(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """As float32 has them, so that what is equal there is equal here."""
    unit = [
        torch.nn.functional.normalize(torch.from_numpy(part).float(), dim=1)
        for part in (queries, gallery)
    ]
    return (unit[0] @ unit[1].T).numpy()


@pytest.mark.parametrize("seed", [0, 1])
def test_average_precision_equals_scikit_learns_with_ties(seed: int) -> None:
    gallery, labels = points(300, 5, seed=seed)
    queries, asked = points(80, 5, seed=seed + 10)
    similar = cosines(queries, gallery)
    assert len(np.unique(similar)) < 60
    expected = [
        average_precision_score(labels == label, row)
        for row, label in zip(similar, asked, strict=True)
    ]
    found = figures(gallery, labels, queries, asked)["retrieval_map"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_recall_is_what_random_orders_of_equals_give_on_average() -> None:
    gallery, labels = points(40, 6, seed=0)
    queries, asked = points(30, 6, seed=1)
    similar = cosines(queries, gallery)
    generator = np.random.default_rng(0)
    found = figures(gallery, labels, queries, asked)
    for k in RANKS:
        hits = np.zeros(30)
        for _ in range(600):
            order = np.lexsort((generator.random(similar.shape), -similar), axis=1)
            hits += (labels[order[:, :k]] == asked[:, None]).any(axis=1)
        np.testing.assert_allclose(found[f"recall_at_{k}"], hits / 600, atol=0.07)


def test_features_that_tell_nothing_give_what_chance_gives() -> None:
    labels = np.repeat([0, 1, 2], [80, 15, 5])
    found = figures(np.ones((100, 3)), labels, np.ones((3, 3)), np.arange(3))
    np.testing.assert_allclose(found["retrieval_map"], [0.8, 0.15, 0.05])
    np.testing.assert_allclose(found["recall_at_1"], [0.8, 0.15, 0.05])
    none = 95 * 94 * 93 * 92 * 91 / (100 * 99 * 98 * 97 * 96)
    assert found["recall_at_5"][2] == pytest.approx(1 - none)


def test_zeros_small_galleries_and_classes_without_samples() -> None:
    found = figures(np.zeros((3, 2)), np.array([0, 1, 1]), np.zeros((4, 2)), np.array([0, 1, 5, 6]))
    assert {len(values) for values in found.values()} == {2}
    assert found["recall_at_5"].tolist() == [1, 1]
    assert all(np.isfinite(values).all() for values in found.values())
    nothing = figures(np.ones((3, 2)), np.zeros(3, int), np.ones((2, 2)), np.full(2, 9))
    assert {len(values) for values in nothing.values()} == {0}


def test_perfect_features_are_found_at_once_among_a_thousand_classes() -> None:
    labels = np.repeat(np.arange(1000), 3)
    features = np.eye(1000)[labels] + 0.01
    found = figures(features, labels, features[::3], labels[::3])
    assert {float(values.min()) for values in found.values()} == {1.0}


def test_intervals_of_means_are_those_of_the_normal_law() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.2, 2000)
    found = mean_estimate(values, seed=0)
    assert found.value == pytest.approx(values.mean())
    margin = 1.96 * values.std() / np.sqrt(2000)
    assert found.low == pytest.approx(values.mean() - margin, abs=0.1 * margin)
    assert found.high == pytest.approx(values.mean() + margin, abs=0.1 * margin)
    assert mean_estimate(values, seed=0) == found
    assert mean_estimate(np.ones(1), seed=0) == (1, 1, 1)
    assert bootstrap_estimate(lambda _: 2.0, 3, seed=0) == (2, 2, 2)
