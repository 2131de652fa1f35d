"""Samples with several labels: a linear classifier for each, scored by mean average precision."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.probes.linear import FULL_BATCH_PRODUCTS, ITERATIONS, TOLERANCE
from pipeline.evaluation.probes.linear_classifier import Features, LinearClassifier
from pipeline.evaluation.probes.minibatch_logistic import minibatch_binary
from pipeline.evaluation.tasks.estimate import Estimate, Values, Weights, half_sample_estimate
from pipeline.randomness import permutation

Truth = npt.NDArray[np.bool_]

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
_FALLBACK = 1e-1
_VALIDATION_SHARE = 0.2


def linear_scores(train: Features, truth: Truth, test: Features, *, seed: int) -> Values:
    """One against the rest: log-odds of each label by logistic regression on standardised features.

    One inverse penalty of 1e-3 … 1 for all labels, which gives the best mean average precision on
    a fifth of the training samples; the classifiers are then fitted to all of them. With too few
    samples for that it is 0.1. Sets of more than `FULL_BATCH_PRODUCTS` are fitted by mini-batches.

    Args:
        train: (N, D).
        truth: (N, L), which labels a sample has; each has some samples and lacks others.
        test: (M, D).
        seed: of the validation part and of the order of mini-batches.

    Returns:
        (M, L) float64.
    """
    order = permutation(len(train), "linear probe", seed)
    held_out = round(len(train) * _VALIDATION_SHARE)
    check, fit = order[:held_out], order[held_out:]
    usable = learnable(truth[fit]) & truth[check].any(axis=0)
    best = _FALLBACK
    if usable.any():
        models = _fit(train[fit], truth[fit][:, usable], strengths=_STRENGTHS, seed=seed)
        found = [
            AveragePrecision(model.scores(train[check]), truth[check][:, usable]).mean()
            for model in models
        ]
        best = _STRENGTHS[int(np.argmax(found))]
    (model,) = _fit(train, truth, strengths=(best,), seed=seed)
    return model.scores(test)


def _fit(
    features: Features, truth: Truth, *, strengths: Sequence[float], seed: int
) -> list[LinearClassifier]:
    """A scorer of all labels for each inverse penalty."""
    if features.size * truth.shape[1] > FULL_BATCH_PRODUCTS:
        return minibatch_binary(features, truth, strengths=strengths, seed=seed)
    scaler = StandardScaler().fit(features)
    inputs = scaler.transform(features)
    return [_one_by_one(scaler, inputs, truth, strength) for strength in strengths]


def _one_by_one(
    scaler: StandardScaler, inputs: Features, truth: Truth, strength: float
) -> LinearClassifier:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = [
            LogisticRegression(C=strength, max_iter=ITERATIONS, tol=TOLERANCE).fit(inputs, column)
            for column in truth.T
        ]
    weight = np.concatenate([model.coef_ for model in fitted]) / scaler.scale_
    bias = np.concatenate([model.intercept_ for model in fitted]) - weight @ scaler.mean_
    return LinearClassifier(weight=weight, bias=bias)


def learnable(truth: Truth) -> npt.NDArray[np.bool_]:
    """(L,), labels that some of the samples (N, L) have and some lack."""
    return np.asarray(truth.any(axis=0) & ~truth.all(axis=0))


class _Ranking(NamedTuple):
    """Of one label: samples by falling score, and where those of equal score end."""

    order: npt.NDArray[np.int64]  # (M,)
    ends: npt.NDArray[np.int64]  # (M,), place of the last one of the same score


class AveragePrecision:
    """Mean over labels of the average precision of each, for any weights of the samples."""

    def __init__(self, scores: Values, truth: Truth) -> None:
        """Rank the samples for each label.

        Args:
            scores: (M, L), the larger the likelier.
            truth: (M, L); each label has a sample.
        """
        self._truth = truth
        self._rankings = [_ranking(column) for column in scores.T]

    def mean(self, weights: Weights | None = None) -> float:
        """Of samples that count so often, (M,) int64, once by default.

        A label's is the sum over thresholds of precision times gain in recall, as scikit-learn's
        `average_precision_score`. Labels whose samples all have no weight are left out; NaN if none
        is left.
        """
        counts = np.ones(len(self._truth), dtype=np.int64) if weights is None else weights
        found = [
            _average_precision(ranking, truth, counts)
            for ranking, truth in zip(self._rankings, self._truth.T, strict=True)
        ]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if known else float("nan")


def _ranking(scores: Values) -> _Ranking:
    order = np.argsort(-scores, kind="stable")
    falling = -scores[order]
    return _Ranking(order, np.searchsorted(falling, falling, side="right") - 1)


def _average_precision(ranking: _Ranking, truth: Truth, weights: Weights) -> float | None:
    every = weights[ranking.order]
    relevant = np.where(truth[ranking.order], every, 0)
    total = relevant.sum()
    if not total:
        return None
    # A sample without weight may be the only one at its threshold or above; it adds nothing.
    among_all = np.maximum(every.cumsum()[ranking.ends], 1)
    return float((relevant * relevant.cumsum()[ranking.ends] / among_all).sum() / total)


def multilabel_estimates(
    train: Features, truth: Truth, test: Features, test_truth: Truth, *, seed: int
) -> dict[str, Estimate]:
    """The score of `linear_scores`, with its interval.

    Args:
        train: (N, D).
        truth: (N, L), all labels `learnable`.
        test: (M, D).
        test_truth: (M, L); each label has a sample.
        seed: of the fit and of the interval.

    Returns:
        `linear_map`, in [0, 1].
    """
    precision = AveragePrecision(linear_scores(train, truth, test, seed=seed), test_truth)
    return {"linear_map": half_sample_estimate(precision.mean, len(test), seed=seed)}
