"""Entropy of the spectrum of a diffusion over features, and what labels explain of it."""

from __future__ import annotations

import math

import numpy as np

from pipeline.evaluation.panel.feature_arrays import Floats, Labels, as_features, as_labels
from pipeline.randomness import permutation

# For L2-normalised features, whose distances end at 2: the paper's 10 sees them all as one point.
# Measured in bits on 1,000 unit vectors (10 being the most, 0 one direction): C clusters without
# width, in 64 dimensions, and uniform in D dimensions. Below 0.7, 64 and 512 dimensions are both at
# the upper end; above it, clusters melt together.
#
#              C = 1      2     10    100   D = 2      8     64    512
#   0.3         0.00   1.00   3.32   6.64    3.77   9.77   9.97   9.97
#   0.5         0.00   1.00   3.32   6.62    3.04   8.17   9.83   9.90
#   0.7         0.00   0.99   3.24   6.19    2.55   6.17   8.67   9.12
#   1.0         0.00   0.92   2.80   4.88    2.02   4.13   6.21   6.98
UNIT_SPHERE_BANDWIDTH = 0.7


def diffusion_spectral_entropy(features: Floats, *, bandwidth: float, power: float = 1) -> float:
    """Diffusion spectral entropy (DSE), in bits.

    A Gaussian kernel between samples, divided on both sides by the root of its row sums, has the
    eigenvalues of a diffusion; DSE is the entropy of their absolute values raised to `power` and
    divided by their sum (Liu et al., Assessing Neural Network Representations During Training Using
    Noise-Resilient Diffusion Spectral Entropy, 2023). Time O(N^3), memory O(N^2): 2,000 samples
    take seconds.

    Args:
        features: (N, D) floating point.
        bandwidth: standard deviation of the kernel, in the unit of features.
        power: steps of the diffusion; more let small eigenvalues, which are noise, count less.

    Returns:
        0 (all rows equal, or a bandwidth far above their distances) to log2 N (a bandwidth far
        below). It does not change with rotation or shift of features or the order of samples.

    Raises:
        ValueError: features of another shape or type, or not finite; bandwidth or power not above
            zero.
    """
    x_ND = as_features(features)
    if not bandwidth > 0 or not power > 0:
        raise ValueError(f"bandwidth and power must be above 0, not {bandwidth} and {power}")
    # Distances do not change with a shift; near the origin they lose the fewest digits.
    x_ND = (x_ND - x_ND.mean(axis=0)) / bandwidth
    squares = (x_ND**2).sum(axis=1)
    distances_NN = (squares[:, None] + squares - 2 * x_ND @ x_ND.T).clip(min=0)
    np.fill_diagonal(distances_NN, 0)
    kernel_NN = np.exp(-distances_NN / 2)
    roots = np.sqrt(kernel_NN.sum(axis=1))
    kernel_NN /= roots[:, None] * roots
    eigenvalues = np.abs(np.linalg.eigvalsh(kernel_NN)) ** power
    shares = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    return abs(float((shares * np.log2(shares)).sum()))


def dsmi(features: Floats, labels: Labels, *, bandwidth: float, seed: int, draws: int = 5) -> float:
    """Diffusion spectral mutual information (DSMI) of features and labels, in bits.

    The mean over classes, weighted by their size, of how much the DSE of a class lies below that of
    as many samples of any class, the mean over random draws (Liu et al., 2023, see
    `diffusion_spectral_entropy`).

    Args:
        features: (N, D) floating point.
        labels: (N,) integers.
        bandwidth: standard deviation of the kernel, in the unit of features.
        seed: of the draws.
        draws: random subsets for each class.

    Returns:
        About 0 (labels say nothing about features; draws may take it just below) to log2 of the
        number of classes; 0 if there is one class.

    Raises:
        ValueError: features or labels of another shape or type, or features not finite; bandwidth
            not above zero; no draws.
    """
    x_ND = as_features(features)
    labels = as_labels(labels, count=len(x_ND))
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    information = 0.0
    for label in np.unique(labels):
        members = x_ND[labels == label]
        if len(members) == len(x_ND):
            return 0.0
        subsets = [
            permutation(len(x_ND), "dsmi", seed, label, draw)[: len(members)]
            for draw in range(draws)
        ]
        of_any = math.fsum(
            diffusion_spectral_entropy(x_ND[subset], bandwidth=bandwidth) for subset in subsets
        )
        of_class = diffusion_spectral_entropy(members, bandwidth=bandwidth)
        information += len(members) / len(x_ND) * (of_any / draws - of_class)
    return information
