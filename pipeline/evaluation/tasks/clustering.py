"""Clustering: whether the groups that k-means finds in features are the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from pipeline.evaluation.tasks.estimate import (
    Estimate,
    Statistic,
    Weights,
    half_sample_estimate,
)
from pipeline.randomness import seed_for, uniform

Labels = npt.NDArray[np.int64]
Counts = npt.NDArray[Any]

_SEEDS = 5
_ITERATIONS = 50
_AXES = 256
_TOGETHER = 4096
_SAME = 1e-12  # of a squared distance: rounding of unit vectors in float32


def cluster_estimates(features: Tensor, labels: Labels, *, seed: int) -> dict[str, Estimate]:
    """Agreement of classes with as many clusters, the mean of five k-means from seeds of their own.

    Features are divided by their norms, as kNN and retrieval see them, and of more than 256 those
    on the first 256 principal axes are taken (as in Caron et al., Deep Clustering for Unsupervised
    Learning of Visual Features, 2018, but not whitened): time does not grow with their number then.

    Args:
        features: (M, D), of test samples.
        labels: (M,) int64, not negative, of two classes at least.
        seed: of the five seeds, and of the intervals.

    Returns:
        `cluster_nmi` and `cluster_ari`, see the measures of `Agreement`; intervals
        are those of test samples and of k-means' own luck.
    """
    truth = np.unique(labels, return_inverse=True)[1]
    seeds = [seed_for("clusters", seed, number) % 2**32 for number in range(_SEEDS)]
    points = _on_axes(F.normalize(features.float(), dim=1), seed=seeds[0])
    agreements = [
        Agreement(truth, k_means(points, int(truth.max()) + 1, seed=own)) for own in seeds
    ]
    return {
        "cluster_nmi": _mean_of(
            [a.normalised_mutual_information for a in agreements], len(truth), seed=seed
        ),
        "cluster_ari": _mean_of([a.adjusted_rand_index for a in agreements], len(truth), seed=seed),
    }


def k_means(points: Tensor, clusters: int, *, seed: int) -> Labels:
    """Clusters (M,) int64 of points (M, D); fewer than asked for where fewer points differ.

    Lloyd's steps (1982) from centres that k-means++ draws (Arthur and Vassilvitskii, k-means++: The
    Advantages of Careful Seeding, 2007), until none moves, at most 50.
    """
    centres = _drawn_centres(points, clusters, seed)
    nearest = _nearest(points, centres)
    for _ in range(_ITERATIONS):
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        counts = nearest.bincount(minlength=len(centres))[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
        before, nearest = nearest, _nearest(points, centres)
        if torch.equal(before, nearest):
            break
    found: Labels = nearest.numpy()
    return found


def _drawn_centres(points: Tensor, clusters: int, seed: int) -> Tensor:
    """(K, D): points, each drawn by its squared distance from those before."""
    draws = uniform("k-means++", seed, np.arange(clusters))
    chosen = [int(draws[0] * len(points))]
    lengths = points.square().sum(dim=1)
    distances = torch.full_like(lengths, float("inf"))
    for draw in draws[1:]:
        last = points[chosen[-1]]
        to_last = lengths - 2 * (points @ last) + last.square().sum()
        distances = torch.minimum(distances, to_last.clamp(min=0))
        distances[chosen[-1]] = 0
        reached = distances.double().cumsum(dim=0)
        if reached[-1] <= _SAME * len(points):
            break
        chosen.append(int(torch.searchsorted(reached, draw * reached[-1], right=True)))
    return points[chosen]


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    # |x - c|^2 less what is the same for all centres, over -2.
    bias = -centres.square().sum(dim=1) / 2
    parts = [torch.addmm(bias, part, centres.T).argmax(dim=1) for part in points.split(_TOGETHER)]
    return torch.cat(parts)


def _on_axes(features: Tensor, *, seed: int) -> Tensor:
    if min(features.shape) <= _AXES:
        return features
    axes = PCA(_AXES, svd_solver="randomized", random_state=seed)
    return torch.from_numpy(axes.fit_transform(features.numpy()).astype(np.float32))


def _mean_of(statistics: Sequence[Statistic], count: int, *, seed: int) -> Estimate:
    """The mean of clusterings; its interval allows for other samples and for other seeds."""
    whole = np.ones(count, dtype=np.int64)
    luck = np.var([statistic(whole) for statistic in statistics], ddof=1) / len(statistics)
    return half_sample_estimate(
        lambda weights: float(np.mean([statistic(weights) for statistic in statistics])),
        count,
        seed=seed,
        other_variance=float(luck),
    )


class Agreement:
    """How often a class meets a cluster, for any weights of the samples.

    Only pairs of a class and a cluster that meet are held: at most as many as there are samples.
    """

    def __init__(self, truth: Labels, found: Labels) -> None:
        """Count meetings.

        Args:
            truth: (M,) int64 in [0, C).
            found: (M,) int64 in [0, K).
        """
        width = int(found.max()) + 1
        pairs, self._pair = np.unique(truth * width + found, return_inverse=True)
        self._classes, self._clusters = np.divmod(pairs, width)

    def counts(self, weights: Weights) -> tuple[Counts, Counts, Counts]:
        """Weights of the pairs that meet (P,), of classes (C,) and of clusters (K,)."""
        both: Counts = np.bincount(self._pair, weights, minlength=len(self._classes))
        of_class: Counts = np.bincount(self._classes, both)
        of_cluster: Counts = np.bincount(self._clusters, both)
        return both, of_class, of_cluster

    def normalised_mutual_information(self, weights: Weights) -> float:
        """Mutual information over the mean of both entropies, in [0, 1].

        0 where neither tells of the other, and 0 where there is one cluster and classes are
        several; 1 where clusters are the classes (Strehl and Ghosh, Cluster Ensembles, 2002, with
        the arithmetic mean, as in scikit-learn).
        """
        both, of_class, of_cluster = self.counts(weights)
        total = _entropy(of_class) + _entropy(of_cluster)
        if total == 0:
            return 1.0
        shared = max(0.0, total - _entropy(both))
        return float(min(1.0, 2 * shared / total))

    def adjusted_rand_index(self, weights: Weights) -> float:
        """Share of pairs of samples on which both agree, less what chance gives.

        1 where clusters are the classes, about 0 where they have nothing to do with each other, and
        it may be negative (Hubert and Arabie, Comparing partitions, 1985).
        """
        both, of_class, of_cluster = (_pairs(counts) for counts in self.counts(weights))
        by_chance = of_class * of_cluster / max(_pairs(np.array([weights.sum()])), 1.0)
        largest = (of_class + of_cluster) / 2
        return float((both - by_chance) / (largest - by_chance)) if largest > by_chance else 1.0


def _entropy(counts: Counts) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _pairs(counts: npt.NDArray[np.floating] | Weights) -> float:
    return float((counts * (counts - 1)).sum() / 2)
