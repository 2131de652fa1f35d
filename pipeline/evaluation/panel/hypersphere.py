"""How L2-normalised features lie on the unit sphere.

Rows of zeros cannot be normalised; they stay zero and count as they are.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.evaluation.panel.feature_arrays import (
    Doubles,
    Floats,
    Labels,
    as_features,
    as_labels,
    as_views,
    unit_rows,
)

_UNIFORMITY_SCALE = 2.0
_BLOCK = 1024
_DEAD_SHARE = 0.01
_COLLAPSED_SPREAD = 1e-4


def uniformity(features: Floats) -> float:
    """-log E exp(-2 d^2) over distinct pairs of samples, d their distance on the unit sphere.

    Wang & Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity
    on the Hypersphere, 2020, section 4.1.2 with t = 2, its sign turned so that more is more
    uniform, as Wang & Liu report it (Understanding the Behaviour of Contrastive Loss, 2021).

    Args:
        features: (N, D) floating point, N >= 2.

    Returns:
        0 (all directions equal) to 8 (two opposite samples); 3.94 for many independent directions
        in 128 dimensions, 4 in infinitely many. It does not change with rotation or the scale of
        rows.

    Raises:
        ValueError: features of another shape or type, or not finite.
    """
    unit_ND = unit_rows(as_features(features, at_least=2))
    squares = (unit_ND**2).sum(axis=1)
    count = len(unit_ND)
    total = 0.0
    for i in range(0, count, _BLOCK):
        for j in range(i, count, _BLOCK):
            rows, columns = slice(i, i + _BLOCK), slice(j, j + _BLOCK)
            distances = (
                squares[rows, None] + squares[columns] - 2 * unit_ND[rows] @ unit_ND[columns].T
            )
            kernel = np.exp(-_UNIFORMITY_SCALE * distances.clip(min=0))
            total += kernel.sum() if i != j else np.triu(kernel, 1).sum()
    # Rounding may take the mean of many ones past one.
    return max(0.0, -math.log(total / (count * (count - 1) / 2)))


def alignment(views: Floats) -> float:
    """Mean squared distance on the unit sphere over distinct pairs of a sample's views.

    Wang & Isola, 2020 (see `uniformity`), section 4.1.1 with alpha = 2.

    Args:
        views: (N, V, D) floating point; row n holds V >= 2 views of one of N >= 2 samples.

    Returns:
        0 (views are equal; also when everything is) to 4; about 2 for unrelated views. It does not
        change with rotation or the order of samples and views.

    Raises:
        ValueError: views of another shape or type, or not finite.
    """
    unit_NVD = unit_rows(as_views(views))
    # Squared distances over the V (V - 1) / 2 pairs sum up to V times those from their mean.
    around_mean = ((unit_NVD - unit_NVD.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))
    return float(around_mean.mean() * 2 / (unit_NVD.shape[1] - 1))


def tolerance(features: Floats, labels: Labels) -> float:
    """Mean cosine over distinct pairs of samples of the same class.

    Wang & Liu, Understanding the Behaviour of Contrastive Loss, 2021, section 4.2.

    Args:
        features: (N, D) floating point.
        labels: (N,) integers.

    Returns:
        -1 to 1, 1 if each class is one direction; NaN if no class has two samples.

    Raises:
        ValueError: features or labels of another shape or type, or features not finite.
    """
    unit_ND = unit_rows(as_features(features))
    labels = as_labels(labels, count=len(unit_ND))
    cosines, pairs = 0.0, 0
    for label in np.unique(labels):
        members = unit_ND[labels == label]
        # All ordered pairs of members, less each with itself.
        cosines += (members.sum(axis=0) ** 2).sum() - (members**2).sum()
        pairs += len(members) * (len(members) - 1)
    return float(cosines / pairs) if pairs else math.nan


def spread(features: Floats) -> Doubles:
    """Standard deviation of each dimension of L2-normalised features, times sqrt(D).

    The collapse check of Chen & He, Exploring Simple Siamese Representation Learning, 2021,
    section 4.1.

    Args:
        features: (N, D) floating point, N >= 2.

    Returns:
        (D,) float64; all 1 for an isotropic cloud around the origin, all 0 if collapsed, 0 to
        sqrt(D) each, with a mean square of at most 1.

    Raises:
        ValueError: features of another shape or type, or not finite.
    """
    unit_ND = unit_rows(as_features(features, at_least=2))
    return unit_ND.std(axis=0) * math.sqrt(unit_ND.shape[1])


def dead_dimensions(features: Floats) -> float:
    """Share of dimensions that do not vary: their `spread` is below 1 % of the mean spread.

    Dimensions that stay near zero, as those of dead units do. One that is constant elsewhere still
    varies on the sphere, with the norm of the others. If the mean spread itself is below 1e-4 the
    features are collapsed and all dimensions are dead: what then differs between dimensions is the
    rounding of float32.

    Args:
        features: (N, D) floating point, N >= 2.

    Returns:
        0 to 1.

    Raises:
        ValueError: features of another shape or type, or not finite.
    """
    spread_D = spread(features)
    mean = spread_D.mean()
    if mean < _COLLAPSED_SPREAD:
        return 1.0
    return float((spread_D < _DEAD_SHARE * mean).mean())
