"""What the singular values of features say about how many dimensions are used."""

from __future__ import annotations

import math

import numpy as np

from pipeline.evaluation.panel.feature_arrays import (
    Doubles,
    Floats,
    as_features,
    rounding_norm,
)

_RANKME_EPSILON = 1e-7
_FIRST_RANK = 4
_LAST_RANK = 100
_FEWEST_EIGENVALUES = 3


def rank_me(features: Floats) -> float:
    """RankMe: the effective rank of features, not centred.

    exp(-sum_k p_k log p_k) with p_k = s_k / sum_j s_j + 1e-7 of the singular values s
    (Garrido et al., RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised
    Representations by Their Rank, 2022, equations 1 and 2). It does not change with rotation or
    scale.

    Args:
        features: (N, D) floating point.

    Returns:
        1 (all rows are multiples of one vector) to min(N, D) (all directions weigh the same), up
        to the 1e-7; 0 if all features are zero.

    Raises:
        ValueError: features of another shape or type, or not finite.
    """
    singular = np.linalg.svd(as_features(features), compute_uv=False)
    total = singular.sum()
    if total == 0:
        return 0.0
    shares = singular / total + _RANKME_EPSILON
    return math.exp(-(shares * np.log(shares)).sum())


def alpha_req(features: Floats) -> float:
    """α-ReQ: the exponent a of the power law i^-a that the covariance's eigenvalues follow.

    Least squares of log eigenvalue on log rank, weighted by 1 / rank so that each octave of ranks
    counts about the same (Agrawal et al., α-ReQ: Assessing Representation Quality in
    Self-Supervised Learning by measuring eigenspectrum decay, 2022; fit of Stringer et al.,
    High-dimensional geometry of population responses in visual cortex, 2019).

    The fit is over ranks 4 to 100, as in the authors' code (the paper names none): the first
    directions often stand apart from the law, and the last ones are those that a probe set of some
    thousand samples estimates worst. Eigenvalues that are zero to numerical precision are left out.
    Where this leaves fewer than three ranks, all from rank 1 on are fitted.

    Args:
        features: (N, D) floating point, N >= 2.

    Returns:
        0 for isotropic features, about 1 for the best representations of the paper, larger the
        fewer dimensions matter; NaN if fewer than three eigenvalues are left. It does not change
        with rotation, shift or scale.

    Raises:
        ValueError: features of another shape or type, or not finite.
    """
    eigenvalues = covariance_spectrum(features)[:_LAST_RANK]
    if len(eigenvalues) < _FEWEST_EIGENVALUES:
        return math.nan
    ranks = np.arange(1, len(eigenvalues) + 1)
    if len(ranks) - _FIRST_RANK + 1 >= _FEWEST_EIGENVALUES:
        ranks = ranks[_FIRST_RANK - 1 :]
    x, y = np.log(ranks), np.log(eigenvalues[ranks - 1])
    weights = 1 / ranks
    x -= np.average(x, weights=weights)
    return float(-(weights * x) @ y / ((weights * x) @ x))


def von_neumann_entropy(features: Floats) -> float:
    """Entropy of the eigenvalues of the covariance divided by its trace, in nats.

    The von Neumann entropy of the covariance taken as a density matrix (Kim et al., VNE: An
    Effective Method for Improving Deep Representation by Manipulating Eigenvalue Distribution,
    2023, equation 1); its exponential is an effective rank. Nothing is added to the covariance to
    make it invertible: 0 log 0 is 0, and so the value does not change with the scale of features.

    Args:
        features: (N, D) floating point, N >= 2.

    Returns:
        0 (one direction, or all rows equal) to ln D (isotropic). It does not change with rotation,
        shift or scale.

    Raises:
        ValueError: features of another shape or type, or not finite.
    """
    eigenvalues = covariance_spectrum(features)
    shares = eigenvalues / eigenvalues.sum()
    return max(0.0, -float((shares * np.log(shares)).sum()))


def covariance_spectrum(features: Floats) -> Doubles:
    """Eigenvalues of the covariance over the largest, falling, without those that are rounding.

    Args:
        features: (N, D) floating point, N >= 2.

    Returns:
        (k,) from 1 down, k at most min(N - 1, D); none if all rows are equal.

    Raises:
        ValueError: features of another shape or type, or not finite.
    """
    x_ND = as_features(features, at_least=2)
    singular = np.linalg.svd(x_ND - x_ND.mean(axis=0), compute_uv=False)
    singular = singular[singular > rounding_norm(features)]
    return (singular / singular.max(initial=0)) ** 2
