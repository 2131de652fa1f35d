"""Logistic regression by mini-batches against scikit-learn's, fitted to the end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.evaluation.probes import linear, minibatch_logistic
from pipeline.evaluation.probes.linear import linear_predictions

pytestmark = pytest.mark.fast

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Data = tuple[Floats, Labels, Floats, Labels]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices are so small here that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


def correlated(classes: int, *, count: int = 800, width: int = 16) -> Data:
    """Half for training, half for tests: correlated features of unlike scale, one constant."""
    generator = np.random.default_rng(classes)
    labels = generator.integers(0, classes, 2 * count)
    centres = generator.normal(size=(classes, width))
    mixing = generator.normal(size=(width, width)) * np.geomspace(1, 0.05, width)[:, None]
    points = (centres[labels] + 1.5 * generator.normal(size=(2 * count, width))) @ mixing
    points = np.maximum(points * np.geomspace(0.01, 100, width) + 1, 0)
    points[:, 0] = 3.0
    points = points.astype(np.float32)
    return points[:count], labels[:count], points[count:], labels[count:]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_probabilities_equal_scikit_learns(classes: int) -> None:
    train, train_labels, test, test_labels = correlated(classes)
    models = minibatch_logistic.minibatch_logistic(train, train_labels, strengths=STRENGTHS, seed=0)
    for strength, model in zip(STRENGTHS, models, strict=True):
        reference = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=1000, tol=1e-5)
        ).fit(train, train_labels)
        scores = model.scores(test)
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        found = odds / odds.sum(axis=1, keepdims=True)
        expected = reference.predict_proba(test)
        assert np.abs(found - expected).mean() < 0.002
        assert np.abs(found - expected).max() < 0.03
        accuracy = np.mean(model.predict(test) == test_labels)
        assert accuracy == pytest.approx(reference.score(test, test_labels), abs=0.005)


def test_strengths_fitted_together_are_those_fitted_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(minibatch_logistic, "_STEPS", 100)
    train, train_labels, *_ = correlated(3, count=300, width=5)
    both = minibatch_logistic.minibatch_logistic(train, train_labels, strengths=(1e-3, 1.0), seed=0)
    (alone,) = minibatch_logistic.minibatch_logistic(train, train_labels, strengths=(1.0,), seed=0)
    np.testing.assert_allclose(both[1].weight, alone.weight, rtol=1e-3, atol=1e-4)


def test_the_seed_alone_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(minibatch_logistic, "_STEPS", 100)
    train, train_labels, *_ = correlated(3, count=700, width=5)
    one, again, other = (
        minibatch_logistic.minibatch_logistic(train, train_labels, strengths=(0.1,), seed=seed)[0]
        for seed in (0, 0, 1)
    )
    assert np.array_equal(one.weight, again.weight)
    assert np.array_equal(one.bias, again.bias)
    assert not np.array_equal(one.weight, other.weight)


def test_a_large_set_is_fitted_by_mini_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    train, train_labels, test, test_labels = correlated(10)
    train_labels, test_labels = 3 * train_labels, 3 * test_labels  # labels with gaps
    whole = linear_predictions(train, train_labels, test, seed=0)
    monkeypatch.setattr(linear, "FULL_BATCH_PRODUCTS", train.size * 10 - 1)
    parts = linear_predictions(train, train_labels, test, seed=0)
    assert parts.dtype == whole.dtype == np.int64
    assert np.mean(parts == whole) > 0.97
    assert not np.array_equal(parts, whole), "it was fitted as a small one"
    accuracies = [np.mean(found == test_labels) for found in (parts, whole)]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.01)
    assert set(parts) <= set(train_labels)
