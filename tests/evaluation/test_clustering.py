"""Clustering: agreement against scikit-learn, k-means against its objective, intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from pipeline.evaluation.tasks.clustering import Agreement, cluster_estimates, k_means

pytestmark = pytest.mark.fast


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=2))
def test_agreement_equals_scikit_learns_for_any_weights(rows: list[tuple[int, int, int]]) -> None:
    truth, found, weights = (np.array(column) for column in zip(*rows, strict=True))
    if weights.sum() < 2:
        weights = weights + 1
    repeated = truth.repeat(weights), found.repeat(weights)
    agreement = Agreement(truth, found)
    assert agreement.normalised_mutual_information(weights) == pytest.approx(
        normalized_mutual_info_score(*repeated), abs=1e-9
    )
    assert agreement.adjusted_rand_index(weights) == pytest.approx(
        adjusted_rand_score(*repeated), abs=1e-9
    )


def blobs(classes: int, count: int, *, noise: float, width: int = 16) -> tuple[torch.Tensor, ...]:
    generator = np.random.default_rng(classes)
    labels = generator.permutation(np.arange(count) % classes)
    centres = generator.normal(size=(classes, width))
    points = centres[labels] + noise * generator.normal(size=(count, width))
    return torch.from_numpy(points).float(), labels


def inertia(points: np.ndarray, found: np.ndarray) -> float:
    groups = [points[found == number] for number in np.unique(found)]
    return sum(float(np.square(group - group.mean(axis=0)).sum()) for group in groups)


def test_k_means_finds_what_scikit_learns_finds() -> None:
    points, _ = blobs(8, 600, noise=0.6)
    ours = [inertia(points.numpy(), k_means(points, 8, seed=seed)) for seed in range(5)]
    theirs = KMeans(8, n_init=5, random_state=0).fit(points.numpy()).inertia_
    assert min(ours) == pytest.approx(theirs, rel=0.01)
    assert np.array_equal(k_means(points, 8, seed=3), k_means(points, 8, seed=3))


def test_clusters_that_are_the_classes_are_found() -> None:
    points, labels = blobs(4, 200, noise=0.05)
    found = cluster_estimates(points, labels, seed=0)
    assert list(found) == ["cluster_nmi", "cluster_ari"]
    for estimate in found.values():
        assert 0.7 < estimate.value <= 1
        assert estimate.low <= estimate.value <= estimate.high <= 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_that_are_all_equal_tell_nothing(value: float) -> None:
    found = cluster_estimates(torch.full((30, 300), value), np.arange(30) % 3, seed=0)
    assert found["cluster_nmi"] == pytest.approx((0, 0, 0))
    assert found["cluster_ari"] == pytest.approx((0, 0, 0))


def test_a_class_with_one_sample_and_more_features_than_axes() -> None:
    points, labels = blobs(3, 400, noise=0.3, width=300)
    labels = np.append(labels[1:], 77)
    found = cluster_estimates(points, labels, seed=0)
    assert all(np.isfinite(estimate).all() for estimate in found.values())


def test_intervals_are_about_as_wide_as_other_test_sets_differ() -> None:
    generator = np.random.default_rng(0)
    values, widths = [], []
    for number in range(40):
        labels = generator.integers(0, 2, 300)
        points = np.stack([3.0 * labels - 1.5, np.ones(300)], axis=1)
        points += generator.normal(size=points.shape)
        found = cluster_estimates(torch.from_numpy(points), labels, seed=number)["cluster_ari"]
        values.append(found.value)
        widths.append(found.high - found.low)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(values), rel=0.4)


def test_hundreds_of_classes_take_seconds() -> None:
    points, labels = blobs(300, 1500, noise=0.1)
    assert cluster_estimates(points, labels, seed=0)["cluster_nmi"].value > 0.9
