"""How many dimensions the samples themselves have, whatever the width of the features."""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from pipeline.evaluation.panel.feature_arrays import Doubles, Floats, as_features, rounding_norm
from pipeline.randomness import permutation

_MOST_SAMPLES = 2000
_SIZES = 16
_FEWEST_SAMPLES = 2 * _SIZES


def idest(features: Floats, *, seed: int) -> float:
    """IdEst: intrinsic dimension d from how the length of a minimum spanning tree grows.

    The tree over n samples of a d-dimensional manifold has a length of about n^((d - 1) / d)
    (Costa & Hero, Determining Intrinsic Dimension and Entropy of High-Dimensional Shape Spaces,
    2006). So d is 1 / (1 - m) of the slope m of log length on log n, by least squares over draws of
    N/16, 2N/16 … N samples (Mordacq et al., IdEst: Assessing Self-Supervised Learning
    Representations via Intrinsic Dimension, 2026, algorithm 1; they find less to be better).

    Samples that are equal count, and are joined by an edge of no length.

    Args:
        features: (N, D) floating point; of more than 2,000 samples so many are drawn.
        seed: of the draws.

    Returns:
        Above 1; NaN of fewer than 32 samples, if all are equal but for rounding, and if the tree
        does not grow like that of a manifold. It does not change with rotation, shift or scale.

    Raises:
        ValueError: features of another shape or type, or not finite.
    """
    drawn = permutation(len(features), "intrinsic dimension", seed)[:_MOST_SAMPLES]
    x_ND = as_features(features)[drawn]
    count = len(x_ND)
    if count < _FEWEST_SAMPLES or np.linalg.norm(x_ND - x_ND.mean(0)) <= rounding_norm(features):
        return math.nan
    sizes = np.linspace(count / _SIZES, count, _SIZES).astype(int)
    lengths = np.array(
        [
            _tree_length(x_ND[permutation(count, "tree", seed, number)[:size]])
            for number, size in enumerate(sizes)
        ]
    )
    if not lengths.all():
        return math.nan
    slope = np.polyfit(np.log(sizes), np.log(lengths), 1)[0]
    return float(1 / (1 - slope)) if 0 < slope < 1 else math.nan


def _tree_length(points_ND: Doubles) -> float:
    """Length of the Euclidean minimum spanning tree."""
    # SciPy takes a distance of zero for no edge at all.
    apart = np.unique(points_ND, axis=0)
    return float(minimum_spanning_tree(squareform(pdist(apart))).sum())
