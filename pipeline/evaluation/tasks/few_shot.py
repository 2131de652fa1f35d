"""Few-shot classification: how far one, five or ten labels a class go."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.evaluation.tasks.estimate import Estimate, repeated_estimate
from pipeline.randomness import mix

Labels = npt.NDArray[np.int64]

SHOTS = (1, 5, 10)
DRAWS = 20
"""Sets of labelled samples, over which accuracies are averaged."""

_TESTS_TOGETHER = 4096


class TooFew(NamedTuple):
    """A number of shots that a class has too few training samples for."""

    shots: int
    label: int
    samples: int


def few_shot_estimates(
    train: Tensor, train_labels: Labels, test: Tensor, test_labels: Labels, *, seed: int
) -> tuple[dict[str, Estimate], list[TooFew]]:
    """Accuracies on test samples of all classes, with K labelled training samples a class.

    The class whose centroid is nearest, after the mean of all training features has been taken off
    and lengths have been made one (CL2N of Wang et al., SimpleShot: Revisiting Nearest-Neighbor
    Classification for Few-Shot Learning, 2019); the mean needs no labels. It is the mean of 20
    draws with Student's 95 % interval of that mean, which is of draws, not of test samples.

    Args:
        train: (N, D) features, which samples are drawn from.
        train_labels: (N,) int64, not negative.
        test: (M, D) features, M > 0.
        test_labels: (M,) int64; those that training lacks count as wrong.
        seed: of the draws.

    Returns:
        `few_shot_1`, `few_shot_5`, `few_shot_10`, and those that are left out, each with the class
        that has the fewest training samples.
    """
    classes, counts = np.unique(train_labels, return_counts=True)
    fewest = int(counts.argmin())
    possible = [shots for shots in SHOTS if shots <= counts[fewest]]
    left_out = [
        TooFew(shots, int(classes[fewest]), int(counts[fewest]))
        for shots in SHOTS
        if shots not in possible
    ]
    centre = train.float().mean(dim=0)
    fit = F.normalize(train.float() - centre, dim=1)
    check = F.normalize(test.float() - centre, dim=1)
    found = {}
    for shots in possible:
        accuracies = [
            _accuracy(fit, _drawn(train_labels, shots, seed, draw), classes, check, test_labels)
            for draw in range(DRAWS)
        ]
        found[f"few_shot_{shots}"] = repeated_estimate(np.array(accuracies))
    return found, left_out


def _drawn(labels: Labels, shots: int, seed: int, draw: int) -> npt.NDArray[np.int64]:
    """Numbers of the samples drawn, (C, K), by class."""
    luck = mix("few-shot", seed, shots, draw, np.arange(len(labels)))
    order = np.lexsort((luck, labels))
    _, first = np.unique(labels[order], return_index=True)
    return order[first[:, None] + np.arange(shots)]


def _accuracy(
    fit: Tensor,
    drawn_CK: npt.NDArray[np.int64],
    classes: Labels,
    check: Tensor,
    test_labels: Labels,
) -> float:
    centroids = fit[torch.from_numpy(drawn_CK)].mean(dim=1)
    # |x - c|^2 less what is the same for all classes, over -2.
    bias = -centroids.square().sum(dim=1) / 2
    nearest = [
        torch.addmm(bias, part, centroids.T).argmax(dim=1) for part in check.split(_TESTS_TOGETHER)
    ]
    return float(np.mean(classes[torch.cat(nearest).numpy()] == test_labels))
