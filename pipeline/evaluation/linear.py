"""The linear probe: logistic regression with its regularisation chosen on a validation part."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.randomness import permutation

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
_FALLBACK = 1e-1
_VALIDATION_SHARE = 0.2
_ITERATIONS = 100

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def linear_accuracy(
    train: Features, train_labels: Labels, test: Features, test_labels: Labels, *, seed: int
) -> float:
    """Share of test samples that a linear classifier on standardised features gets right.

    The inverse penalty C is chosen from 1e-3 … 1 on a fifth of the training samples; the classifier
    is then fitted to all of them. With too few samples to hold some of each class out, C is 0.1.

    Args:
        train: (N, D).
        train_labels: (N,).
        test: (M, D).
        test_labels: (M,).
        seed: of the validation part.
    """
    if len(np.unique(train_labels)) == 1:
        return float(np.mean(test_labels == train_labels[0]))
    order = permutation(len(train), "linear probe", seed)
    held_out = round(len(train) * _VALIDATION_SHARE)
    check, fit = order[:held_out], order[held_out:]
    if not held_out or len(np.unique(train_labels[fit])) == 1:
        return float(_fit(train, train_labels, _FALLBACK).score(test, test_labels))
    scores = [
        _fit(train[fit], train_labels[fit], strength).score(train[check], train_labels[check])
        for strength in _STRENGTHS
    ]
    best = _STRENGTHS[int(np.argmax(scores))]
    return float(_fit(train, train_labels, best).score(test, test_labels))


def _fit(features: Features, labels: Labels, strength: float) -> Pipeline:
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=_ITERATIONS, tol=1e-3)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(features, labels)
