"""The naive-Bayes probe against scikit-learn and the textbook formula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.naive_bayes import GaussianNB

from pipeline.evaluation.probes.naive_bayes import (
    ClassMoments,
    class_moments,
    naive_bayes_classifier,
    naive_bayes_predictions,
)

pytestmark = pytest.mark.fast

CLASSES = 6
ABSENT = 4

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def samples(count: int, *, offset: float = 0.0, seed: int = 0) -> tuple[Floats, Labels]:
    """Samples of unlike scales and mixed classes, one of which has none."""
    generator = np.random.default_rng(seed)
    labels = generator.choice([c for c in range(CLASSES) if c != ABSENT], count)
    labels[:5] = [0, 1, 2, 3, 5]
    centres = np.random.default_rng(99).normal(size=(CLASSES, 7))
    scale = np.geomspace(1e-3, 1e3, 7)
    points = (centres[labels] + generator.normal(size=(count, 7))) * scale + offset
    return points.astype(np.float32), labels


def assert_equal_moments(found: ClassMoments, expected: ClassMoments) -> None:
    np.testing.assert_array_equal(found.count, expected.count)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(found.squares, expected.squares, rtol=1e-9)


@pytest.mark.parametrize("cuts", [[], [1], [0, 500], [3, 4, 400, 401], list(range(0, 500, 7))])
def test_merged_shards_equal_one_pass(cuts: list[int]) -> None:
    features, labels = samples(500, offset=100.0)
    parts = zip(np.split(features, cuts), np.split(labels, cuts), strict=True)
    first, *others = [class_moments(*part, classes=CLASSES) for part in parts]
    merged = first
    for other in others:
        merged = merged.merge(other)
    assert_equal_moments(merged, class_moments(features, labels, classes=CLASSES))


def test_merging_is_commutative() -> None:
    one, two = (class_moments(*samples(100, seed=s), classes=CLASSES) for s in (1, 2))
    assert_equal_moments(one.merge(two), two.merge(one))


def test_the_order_of_samples_does_not_matter() -> None:
    features, labels = samples(9000)
    order = np.random.default_rng(1).permutation(9000)
    assert_equal_moments(
        class_moments(features[order], labels[order], classes=CLASSES),
        class_moments(features, labels, classes=CLASSES),
    )


@pytest.mark.parametrize("count", [200, 9000])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_means_and_variances_equal_scikit_learns(count: int, offset: float) -> None:
    features, labels = samples(count, offset=offset)
    moments = class_moments(features, labels, classes=CLASSES)
    reference = GaussianNB(var_smoothing=0.0).fit(features.astype(np.float64), labels)
    np.testing.assert_allclose(moments.mean[reference.classes_], reference.theta_, rtol=1e-9)
    variance = moments.squares / np.maximum(moments.count, 1)[:, None]
    np.testing.assert_allclose(variance[reference.classes_], reference.var_, rtol=1e-9)
    assert not moments.count[ABSENT]


def slow_scores(features: Floats, labels: Labels, queries: Floats) -> npt.NDArray[np.float64]:
    """log prior - 1/2 sum (x - mean)^2 / variance, one class and query at a time."""
    points = features.astype(np.float64)
    present = np.unique(labels)
    within = np.concatenate([points[labels == c] - points[labels == c].mean(0) for c in present])
    variance = (within**2).mean(axis=0) + 1e-9 * points.var(axis=0).max()
    scores = np.full((len(queries), CLASSES), -np.inf)
    for row, query in enumerate(queries.astype(np.float64)):
        for c in present:
            distance = (query - points[labels == c].mean(axis=0)) ** 2 / variance
            scores[row, c] = np.log(np.mean(labels == c)) - distance.sum() / 2
    return scores


def test_scores_equal_the_discriminant_up_to_what_classes_share() -> None:
    features, labels = samples(400)
    queries, wanted = samples(300, seed=5)
    moments = class_moments(features, labels, classes=CLASSES)
    found = naive_bayes_classifier(moments).scores(queries)
    expected = slow_scores(features, labels, queries)
    np.testing.assert_allclose(
        found - found[:, :1], expected - expected[:, :1], rtol=1e-7, atol=1e-7
    )
    predicted = naive_bayes_predictions(features, labels, queries)
    assert predicted.dtype == np.int64
    assert np.array_equal(predicted, expected.argmax(axis=1))
    assert 0.4 < np.mean(predicted == wanted) < 1


def test_a_class_without_samples_is_never_predicted() -> None:
    features, labels = samples(50)
    centred = features - features.mean(axis=0)  # a zero weight would score well
    far = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32) * 1e4
    assert ABSENT not in naive_bayes_predictions(centred, labels, far)


def test_a_feature_that_tells_all_by_being_constant_within_classes() -> None:
    labels = np.arange(20) % 3
    features = np.stack([labels, np.ones(20)], axis=1).astype(np.float32)
    assert np.array_equal(naive_bayes_predictions(features, labels, features), labels)


def test_features_that_tell_nothing_leave_the_priors() -> None:
    labels = np.array([0, 1, 1, 2])
    features = np.full((4, 3), 7.0, np.float32)
    assert naive_bayes_predictions(features, labels, features).tolist() == [1] * 4
