"""The naive-Bayes probe: class means and one diagonal variance, from one pass over the features.

It learns nothing by steps, so it costs next to nothing, and with few labels it leads logistic
regression (Ng and Jordan, On Discriminative vs. Generative Classifiers, NIPS 2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.probes.linear_classifier import (
    Features,
    Labels,
    LinearClassifier,
    Parameters,
)

_CHUNK = 4096
_SMOOTHING = 1e-9


@dataclass(frozen=True, kw_only=True)
class ClassMoments:
    """Per-class moments of the features seen so far; those of several parts merge."""

    count: Parameters  # (C,)
    mean: Parameters  # (C, D), 0 for classes without samples
    squares: Parameters  # (C, D) sums of squared deviations from the mean, M2

    def merge(self, other: ClassMoments) -> ClassMoments:
        """Moments of both parts together.

        The update of Chan, Golub and LeVeque (Updating Formulae and a Pairwise Algorithm for
        Computing Sample Variances, 1979): unlike sums of squares it does not cancel where the mean
        is large beside the deviation.
        """
        count = self.count + other.count
        share = (other.count / np.maximum(count, 1))[:, None]
        gap = other.mean - self.mean
        return ClassMoments(
            count=count,
            mean=self.mean + gap * share,
            squares=self.squares + other.squares + gap**2 * self.count[:, None] * share,
        )


def class_moments(features: Features, labels: Labels, *, classes: int) -> ClassMoments:
    """Moments of each class.

    Args:
        features: (N, D).
        labels: (N,) in [0, classes).
        classes: C.
    """
    width = features.shape[1]
    total = ClassMoments(
        count=np.zeros(classes), mean=np.zeros((classes, width)), squares=np.zeros((classes, width))
    )
    for start in range(0, len(features), _CHUNK):
        part = slice(start, start + _CHUNK)
        total = total.merge(_moments_at_once(features[part], labels[part], classes))
    return total


def _moments_at_once(features: Features, labels: Labels, classes: int) -> ClassMoments:
    values = features.astype(np.float64)
    count = np.bincount(labels, minlength=classes).astype(np.float64)
    member = (labels[:, None] == np.arange(classes)).T.astype(np.float64)
    mean = member @ values / np.maximum(count, 1)[:, None]
    squares = member @ (values - mean[labels]) ** 2
    return ClassMoments(count=count, mean=mean, squares=squares)


def naive_bayes_classifier(moments: ClassMoments) -> LinearClassifier:
    """Gaussian naive Bayes with one diagonal variance for all classes, which makes it linear.

    score_c(x) = log prior_c - 1/2 sum_d (x_d - mean_cd)^2 / variance_d, less the part that all
    classes share. As in scikit-learn the variance gains 1e-9 times the largest variance of a
    feature over all samples, so that a feature that is constant within classes divides by no zero.

    Args:
        moments: of the training samples, one at least.
    """
    prior = moments.count / moments.count.sum()
    centre = prior @ moments.mean
    variance = moments.squares.sum(axis=0) / moments.count.sum()
    largest = (variance + prior @ (moments.mean - centre) ** 2).max()
    # Where no feature varies at all only the priors tell classes apart.
    variance += _SMOOTHING * largest if largest > 0 else 1.0
    weight = moments.mean / variance
    with np.errstate(divide="ignore"):
        bias = np.log(prior) - 0.5 * (moments.mean * weight).sum(axis=1)
    return LinearClassifier(weight=weight, bias=bias)


def naive_bayes_predictions(train: Features, train_labels: Labels, test: Features) -> Labels:
    """The likeliest class of each test sample, among those that have training samples.

    Args:
        train: (N, D).
        train_labels: (N,) int64, not negative.
        test: (M, D).

    Returns:
        (M,) int64.
    """
    moments = class_moments(train, train_labels, classes=int(train_labels.max()) + 1)
    return naive_bayes_classifier(moments).predict(test)
