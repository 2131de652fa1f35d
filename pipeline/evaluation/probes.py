"""Probe scores of an encoder, beside those of the floors it must clear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pipeline.evaluation.config import Probe
from pipeline.evaluation.features import Images
from pipeline.evaluation.knn import knn_predictions
from pipeline.evaluation.linear import linear_predictions
from pipeline.evaluation.naive_bayes import naive_bayes_predictions
from pipeline.evaluation.probe_set import ProbeSet
from pipeline.evaluation.score import Score, score_of

FeatureFunction = Callable[[Images], Tensor]


def probe_scores(
    features: FeatureFunction,
    train: ProbeSet,
    test: ProbeSet,
    *,
    probes: Sequence[Probe],
    seed: int,
) -> dict[str, Score]:
    """Scores on the test set, by probe.

    Args:
        features: images (N, S, S, 3) uint8 to features (N, D).
        train: what the probes are fitted on.
        test: what they are scored on.
        probes: which of them.
        seed: of the linear probe's validation part and of the intervals.
    """
    fit, check = features(train.images), features(test.images)
    scores: dict[str, Score] = {}
    for probe in probes:
        if probe == Probe.knn:
            predicted = knn_predictions(fit, torch.from_numpy(train.labels), check).numpy()
        elif probe == Probe.linear:
            predicted = linear_predictions(fit.numpy(), train.labels, check.numpy(), seed=seed)
        else:
            predicted = naive_bayes_predictions(fit.numpy(), train.labels, check.numpy())
        scores[str(probe)] = score_of(predicted == test.labels, seed=seed)
    return scores


def contestant_scores(
    contestants: Mapping[str, FeatureFunction],
    train: ProbeSet,
    test: ProbeSet,
    *,
    probes: Sequence[Probe],
    seed: int,
) -> dict[str, Score]:
    """Scores of several features, by probe and suffix: `knn`, `knn_raw`.

    Args:
        contestants: suffix to feature function; see `probe_scores` for it and the others.
        train: what the probes are fitted on.
        test: what they are scored on.
        probes: which of them.
        seed: of the linear probe's validation part and of the intervals.
    """
    scores: dict[str, Score] = {}
    for suffix, features in contestants.items():
        found = probe_scores(features, train, test, probes=probes, seed=seed)
        scores |= {f"{probe}{suffix}": score for probe, score in found.items()}
    return scores
