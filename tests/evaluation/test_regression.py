"""Ridge regression and its score against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.tasks.regression import (
    PENALTIES,
    r2,
    regression_estimates,
    ridge_predictions,
)
from pipeline.randomness import permutation

pytestmark = pytest.mark.fast


def data(count: int, width: int, *, noise: float = 1.0) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(count + width)
    features = generator.normal(size=(count + 300, width)) * np.geomspace(0.01, 100, width) + 7
    features[:, 0] = 3.0  # constant
    weights = generator.normal(size=width) / np.geomspace(0.01, 100, width)
    target = features @ weights + noise * generator.normal(size=count + 300) * np.sqrt(width)
    features = features.astype(np.float32)
    return features[:count], target[:count], features[count:], target[count:]


@pytest.mark.parametrize(("count", "width"), [(400, 12), (60, 100)])
@pytest.mark.parametrize("noise", [0.1, 3.0])
def test_predictions_equal_scikit_learns_with_the_best_penalty(
    count: int, width: int, noise: float
) -> None:
    train, target, test, test_target = data(count, width, noise=noise)
    scaler = StandardScaler().fit(train.astype(np.float64))
    fit, check = scaler.transform(train.astype(float)), scaler.transform(test.astype(float))
    order = permutation(count, "ridge probe", 5)
    held, kept = order[: count // 5], order[count // 5 :]

    def errors(penalty: float) -> float:
        model = Ridge(penalty * len(kept)).fit(fit[kept], target[kept])
        return float(np.square(model.predict(fit[held]) - target[held]).mean())

    best = min(PENALTIES, key=errors)
    expected = Ridge(best * count).fit(fit, target).predict(check)
    found = ridge_predictions(train, target, test, seed=5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.std(target))
    score = regression_estimates(train, target, test, test_target, seed=5)["ridge_r2"]
    assert score.value == pytest.approx(r2_score(test_target, expected), abs=1e-5)
    assert score.low <= score.value <= score.high <= 1


def test_r2_equals_scikit_learns_for_any_weights() -> None:
    generator = np.random.default_rng(0)
    target, guess = generator.normal(size=(2, 50))
    weights = generator.integers(0, 4, 50)
    assert r2(target, guess, weights) == pytest.approx(
        r2_score(target, guess, sample_weight=weights)
    )
    assert np.isnan(r2(np.ones(3), np.zeros(3), np.ones(3, dtype=np.int64)))


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_unit_of_the_target_does_not_matter(scale: float) -> None:
    train, target, test, test_target = data(100, 5)
    usual, other = (
        regression_estimates(train, target * by, test, test_target * by, seed=0)["ridge_r2"]
        for by in (1.0, scale)
    )
    assert other == pytest.approx(usual, rel=1e-6)


@pytest.mark.parametrize("count", [2, 4])
def test_few_samples_and_equal_features_explain_nothing(count: int) -> None:
    features, target = np.ones((count, 3), np.float32), np.arange(count, dtype=np.float64)
    score = regression_estimates(features, target, features, target, seed=0)["ridge_r2"]
    assert score == pytest.approx((0, score.low, score.high), abs=1e-9)
    assert np.isfinite(score).all()
