"""LiDAR: how many directions tell samples apart better than views."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from pipeline.evaluation.panel.feature_arrays import Floats, as_views, rounding_norm

_DELTA = 1e-4


def lidar(views: Floats) -> float:
    """Effective rank of the linear discriminant between samples, each a class of its own views.

    With the between-sample covariance S_b of the samples' means and the within-sample covariance
    S_w of the views around them: the exponential of the entropy of the eigenvalues, divided by
    their sum, of S_w^-1/2 S_b S_w^-1/2, S_w with 1e-4 added to its diagonal (Thilak et al., LiDAR:
    Sensing Linear Probing Performance in Joint Embedding SSL Architectures, 2023, equations 1 to
    4). Both covariances are unbiased estimates, as public implementations read the paper: S_b over
    N - 1, S_w over N (V - 1). A common factor of the eigenvalues cancels, so the choice acts only
    through the weight of the 1e-4, a value that they chose: some take 1e-6. The constant inside the
    paper's logarithm is left out: 0 log 0 is 0.

    The paper takes V of 10 to 50 views and N above D. Directions that tell no sample apart keep
    eigenvalues of about 1 / V, so at small V views that have nothing in common score high: read it
    beside `alignment`, and compare only at equal N, V and D. The added constant makes the value
    depend on the scale of features where the views of a sample differ by about its root or less.

    Args:
        views: (N, V, D) floating point; row n holds V >= 2 views of one of N >= 2 samples.

    Returns:
        1 to min(D, N - 1); 0 if the samples' means are all equal. It does not change with rotation,
        shift or the order of samples and views.

    Raises:
        ValueError: views of another shape or type, or not finite.
    """
    x_NVD = as_views(views)
    samples, count, width = x_NVD.shape
    means_ND = x_NVD.mean(axis=1)
    between_ND = means_ND - means_ND.mean(axis=0)
    if np.linalg.norm(between_ND) <= rounding_norm(views):
        return 0.0
    within_MD = (x_NVD - means_ND[:, None]).reshape(-1, width)
    covariance_DD = within_MD.T @ within_MD / (samples * (count - 1))
    covariance_DD[np.diag_indices(width)] += _DELTA

    # Any root of the inverse gives the same eigenvalues; the triangular one needs no eigenvectors.
    root_DD = cholesky(covariance_DD, lower=True, overwrite_a=True, check_finite=False)
    whitened_DN = solve_triangular(root_DD, between_ND.T, lower=True, check_finite=False)
    narrow = whitened_DN if samples <= width else whitened_DN.T
    eigenvalues = np.linalg.eigvalsh(narrow.T @ narrow).clip(min=0)
    shares = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    return math.exp(-(shares * np.log(shares)).sum())
