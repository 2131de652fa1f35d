"""Probe scores of an encoder, beside those of the floors it must clear."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pipeline.evaluation.config import Probe
from pipeline.evaluation.features import Images
from pipeline.evaluation.panel.measures import label_free_panel
from pipeline.evaluation.probe_set import PanelSet, ProbeSet
from pipeline.evaluation.probes.knn import knn_predictions
from pipeline.evaluation.probes.linear import linear_predictions
from pipeline.evaluation.probes.linear_classifier import Labels
from pipeline.evaluation.probes.naive_bayes import naive_bayes_predictions
from pipeline.evaluation.probes.score import Score, score_of

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
    return {
        str(probe): score_of(
            predictions(probe, fit, train.labels, check, seed=seed) == test.labels, seed=seed
        )
        for probe in probes
    }


def predictions(probe: Probe, train: Tensor, labels: Labels, test: Tensor, *, seed: int) -> Labels:
    """Labels that a probe gives to test features.

    Args:
        probe: which.
        train: (N, D) float32, what it is fitted on.
        labels: (N,) of `train`.
        test: (M, D) float32.
        seed: of the linear probe.

    Returns:
        (M,) int64.
    """
    if probe == Probe.knn:
        found: Labels = knn_predictions(train, torch.from_numpy(labels), test).numpy()
        return found
    if probe == Probe.linear:
        return linear_predictions(train.numpy(), labels, test.numpy(), seed=seed)
    return naive_bayes_predictions(train.numpy(), labels, test.numpy())


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


def panel_of(features: FeatureFunction, panel_set: PanelSet, *, seed: int) -> dict[str, float]:
    """The label-free panel of a set's features; figures that are no numbers are left out.

    Args:
        features: images (N, S, S, 3) uint8 to features (N, D).
        panel_set: the views, and labels if all are known.
        seed: see `label_free_panel`.
    """
    samples, views = panel_set.views.shape[:2]
    flat = features(panel_set.views.reshape(samples * views, *panel_set.views.shape[2:]))
    return finite_panel(
        flat.view(samples, views, -1), torch.from_numpy(panel_set.labels), seed=seed
    )


def finite_panel(features: Tensor, labels: Tensor, *, seed: int) -> dict[str, float]:
    """`label_free_panel` of features (N, V, D), without figures that are no numbers.

    Args:
        features: float32.
        labels: (N,) int64; with a -1 among them they are not used.
        seed: see `label_free_panel`.
    """
    known = labels.numpy() if bool((labels >= 0).all()) else None
    panel = label_free_panel(features.numpy(), known, seed=seed)
    return {name: value for name, value in panel.items() if math.isfinite(value)}
