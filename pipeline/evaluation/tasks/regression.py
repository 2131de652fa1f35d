"""Numbers as targets: ridge regression on features, scored by the share of variance explained."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from pipeline.evaluation.probes.linear_classifier import Features
from pipeline.evaluation.tasks.estimate import Estimate, Values, Weights, bootstrap_estimate
from pipeline.randomness import permutation

Doubles = npt.NDArray[np.float64]

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""For each training sample."""

_FALLBACK = 1e-1
_VALIDATION_SHARE = 0.2
_ROWS_TOGETHER = 4096


def ridge_predictions(train: Features, target: Values, test: Features, *, seed: int) -> Values:
    """Least squares on standardised features, with a penalty on the weights.

    The penalty, times the number of samples, is the one of 1e-4 … 10 that gives the least error on
    a fifth of the training samples; the weights are then those of all of them. With fewer than five
    samples it is 0.1. It takes memory for a matrix of D x D.

    Args:
        train: (N, D).
        target: (N,) float64.
        test: (M, D).
        seed: of the validation part.

    Returns:
        (M,) float64.
    """
    mean = train.mean(axis=0, dtype=np.float64)
    deviation = train.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 0, deviation, 1.0)
    order = permutation(len(train), "ridge probe", seed)
    held_out = round(len(train) * _VALIDATION_SHARE)
    check, fit = order[:held_out], order[held_out:]
    fitted = _Moments.of(train[fit], target[fit], mean=mean, scale=scale)
    whole = fitted + _Moments.of(train[check], target[check], mean=mean, scale=scale)
    best = _FALLBACK
    if held_out:
        errors = []
        for penalty in PENALTIES:
            weight, bias = fitted.solved(penalty)
            guess = _applied(train[check], mean=mean, scale=scale, weight=weight, bias=bias)
            errors.append(np.square(guess - target[check]).mean())
        best = PENALTIES[int(np.argmin(errors))]
    weight, bias = whole.solved(best)
    return _applied(test, mean=mean, scale=scale, weight=weight, bias=bias)


class _Moments:
    """Sums that a least-squares fit needs of its samples; those of two parts add up."""

    def __init__(self, count: int, sums: Doubles, products: Doubles) -> None:
        self._count = count
        self._sums = sums  # (D + 1,), of features and target
        self._products = products  # (D + 1, D + 1)

    @classmethod
    def of(cls, features: Features, target: Values, *, mean: Doubles, scale: Doubles) -> _Moments:
        width = features.shape[1] + 1
        found = cls(0, np.zeros(width), np.zeros((width, width)))
        for start in range(0, len(features), _ROWS_TOGETHER):
            part = slice(start, start + _ROWS_TOGETHER)
            rows = np.concatenate([(features[part] - mean) / scale, target[part, None]], axis=1)
            found = found + cls(len(rows), rows.sum(axis=0), rows.T @ rows)
        return found

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments(
            self._count + other._count,
            self._sums + other._sums,
            self._products + other._products,
        )

    def solved(self, penalty: float) -> tuple[Doubles, float]:
        """Weights (D,) and bias; the bias is free of the penalty."""
        means = self._sums / self._count
        centred = self._products / self._count - np.outer(means, means)
        centred[np.diag_indices(len(centred))] += penalty
        weight = cho_solve(cho_factor(centred[:-1, :-1]), centred[:-1, -1])
        return weight, float(means[-1] - means[:-1] @ weight)


def _applied(
    features: Features, *, mean: Doubles, scale: Doubles, weight: Doubles, bias: float
) -> Values:
    folded = weight / scale
    return np.asarray(features.astype(np.float64) @ folded + (bias - mean @ folded))


def r2(target: Values, predicted: Values, weights: Weights) -> float:
    """1 less the squared error over that of the mean: 1 at best, 0 for the mean, negative if worse.

    Args:
        target: (M,).
        predicted: (M,).
        weights: how often each counts, (M,).

    Returns:
        NaN where the target does not vary.
    """
    error = float(weights @ np.square(target - predicted))
    spread = float(weights @ np.square(target - (weights @ target) / weights.sum()))
    return 1 - error / spread if spread > 0 else float("nan")


def regression_estimates(
    train: Features, target: Values, test: Features, test_target: Values, *, seed: int
) -> dict[str, Estimate]:
    """The score of `ridge_predictions`, with its interval.

    Args:
        train: (N, D).
        target: (N,) float64.
        test: (M, D).
        test_target: (M,) float64, which varies.
        seed: of the validation part and of the interval.

    Returns:
        `ridge_r2`, at most 1.
    """
    # R2 does not change with the target's unit; the arithmetic is best near 1.
    centre, unit = float(np.mean(target)), float(np.std(target)) or 1.0
    predicted = ridge_predictions(train, (target - centre) / unit, test, seed=seed)
    actual = (test_target - centre) / unit
    return {
        "ridge_r2": bootstrap_estimate(
            lambda weights: r2(actual, predicted, weights), len(test), seed=seed
        )
    }
