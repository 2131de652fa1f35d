"""Several labels a sample: average precision and its linear classifiers against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.probes.minibatch_logistic import minibatch_binary
from pipeline.evaluation.tasks import multilabel
from pipeline.evaluation.tasks.multilabel import AveragePrecision, multilabel_estimates

pytestmark = pytest.mark.fast


def data(count: int = 500, labels: int = 4) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(labels)
    features = generator.normal(size=(2 * count, 10)) * np.geomspace(0.01, 100, 10) + 5
    weights = generator.normal(size=(10, labels)) / np.geomspace(0.01, 100, 10)[:, None]
    odds = (features - 5) @ weights - 1 + generator.logistic(size=(2 * count, labels))
    features = features.astype(np.float32)
    return features[:count], odds[:count] > 0, features[count:], odds[count:] > 0


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_equals_scikit_learns_with_ties_and_weights(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 6, (60, 3)).astype(float)
    truth = generator.random((60, 3)) < 0.3
    weights = generator.integers(0, 3, 60)
    precision = AveragePrecision(scores, truth)
    assert precision.mean() == pytest.approx(average_precision_score(truth, scores))
    repeated = truth.repeat(weights, axis=0), scores.repeat(weights, axis=0)
    assert precision.mean(weights) == pytest.approx(average_precision_score(*repeated))


def test_labels_that_no_weighted_sample_has_are_left_out() -> None:
    truth = np.array([[True, False], [False, True], [False, True]])
    precision = AveragePrecision(np.arange(6.0).reshape(3, 2), truth)
    only = AveragePrecision(np.arange(6.0).reshape(3, 2)[:, 1:], truth[:, 1:])
    assert precision.mean(np.array([0, 1, 1])) == only.mean(np.array([0, 1, 1]))
    assert np.isnan(precision.mean(np.zeros(3, dtype=np.int64)))


def test_classifiers_are_scikit_learns_one_against_the_rest() -> None:
    strength = 0.1
    train, truth, test, _ = data()
    (model,) = minibatch_binary(train, truth, strengths=(strength,), seed=0)
    reference = make_pipeline(
        StandardScaler(), OneVsRestClassifier(LogisticRegression(C=strength, tol=1e-6))
    ).fit(train, truth.astype(int))
    chances = 1 / (1 + np.exp(-model.scores(test)))
    assert np.abs(chances - reference.predict_proba(test)).max() < 0.02


def test_the_score_is_that_of_the_strength_that_validates_best() -> None:
    train, truth, test, test_truth = data()
    found = multilabel_estimates(train, truth, test, test_truth, seed=0)["linear_map"]
    scores = {}
    for strength in multilabel._STRENGTHS:
        model = make_pipeline(
            StandardScaler(), OneVsRestClassifier(LogisticRegression(C=strength, tol=1e-6))
        ).fit(train, truth.astype(int))
        scores[strength] = average_precision_score(test_truth, model.decision_function(test))
    assert min(abs(found.value - score) for score in scores.values()) < 0.003
    assert found.value > max(scores.values()) - 0.02
    assert found.low < found.value < found.high <= 1
    assert found.high - found.low < 0.15


@pytest.mark.parametrize("count", [2, 4])
def test_few_samples_and_equal_features(count: int) -> None:
    truth = (np.arange(count) % 2 == 0)[:, None]
    features = np.ones((count, 3), np.float32)
    found = multilabel_estimates(features, truth, features, truth, seed=0)["linear_map"]
    assert found.value == 0.5
    assert np.isfinite(found).all()
