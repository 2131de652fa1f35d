"""The linear probe: logistic regression with its regularisation chosen on a validation part."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.probes.linear_classifier import Features, Labels, LinearClassifier
from pipeline.evaluation.probes.minibatch_logistic import minibatch_logistic
from pipeline.randomness import permutation

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
_FALLBACK = 1e-1
_VALIDATION_SHARE = 0.2
ITERATIONS = 100
TOLERANCE = 1e-3

# Samples x features x classes up to which L-BFGS fits all samples at once: five fits of 20,000
# samples with 512 features and 10 classes took a minute on two busy cores. By mini-batches a fit
# costs a fixed number of steps.
FULL_BATCH_PRODUCTS = 20_000 * 512 * 10


def linear_predictions(
    train: Features, train_labels: Labels, test: Features, *, seed: int
) -> Labels:
    """Classes by a linear classifier on standardised features.

    The inverse penalty C is chosen from 1e-3 … 1 on a fifth of the training samples; the classifier
    is then fitted to all of them. With too few samples to hold some of each class out, C is 0.1.
    Sets of more than `FULL_BATCH_PRODUCTS` are fitted by mini-batches.

    Args:
        train: (N, D).
        train_labels: (N,) int64.
        test: (M, D).
        seed: of the validation part and of the order of mini-batches.

    Returns:
        (M,) int64 labels.
    """
    classes = np.unique(train_labels)
    if len(classes) == 1:
        return np.full(len(test), classes[0])
    large = train.size * len(classes) > FULL_BATCH_PRODUCTS
    order = permutation(len(train), "linear probe", seed)
    held_out = round(len(train) * _VALIDATION_SHARE)
    check, fit = order[:held_out], order[held_out:]
    best = _FALLBACK
    if held_out and len(np.unique(train_labels[fit])) > 1:
        models = _fit(train[fit], train_labels[fit], strengths=_STRENGTHS, large=large, seed=seed)
        right = [np.mean(model.predict(train[check]) == train_labels[check]) for model in models]
        best = _STRENGTHS[int(np.argmax(right))]
    (model,) = _fit(train, train_labels, strengths=(best,), large=large, seed=seed)
    predicted: Labels = model.predict(test)
    return predicted


def _fit(
    features: Features, labels: Labels, *, strengths: Sequence[float], large: bool, seed: int
) -> Sequence[Pipeline] | Sequence[LinearClassifier]:
    """A classifier for each inverse penalty."""
    if large:
        return minibatch_logistic(features, labels, strengths=strengths, seed=seed)
    return [_lbfgs(features, labels, strength) for strength in strengths]


def _lbfgs(features: Features, labels: Labels, strength: float) -> Pipeline:
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=ITERATIONS, tol=TOLERANCE)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(features, labels)
