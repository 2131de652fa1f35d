"""Accuracy class by class, and what a class is taken for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.probes.score import score_of

Labels = npt.NDArray[np.int64]


class ClassScore(NamedTuple):
    """Of the test samples of a class: how many, and the share that a probe gets right."""

    samples: int
    accuracy: float
    low: float
    high: float
    raw: float
    """By raw pixels."""

    taken_for: str | None
    """The class that most of the others are taken for; None if all are right."""

    taken_share: float
    """Of the class's samples."""


class Mistakes(NamedTuple):
    """How often a class is taken for another; no pair is there that never is."""

    truth: Labels  # (P,)
    taken_for: Labels  # (P,)
    times: Labels  # (P,), falling


def mistakes_of(truth: Labels, predicted: Labels) -> Mistakes:
    """Pairs of an actual and a predicted class, the most frequent first.

    Args:
        truth: (M,) int64.
        predicted: (M,) int64.
    """
    wrong = truth != predicted
    pairs, count = np.unique(
        np.stack([truth[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True
    )
    order = np.argsort(-count, kind="stable")
    return Mistakes(pairs[order, 0], pairs[order, 1], count[order])


def class_scores(
    truth: Labels, predicted: Labels, raw: Labels, *, names: Sequence[str], seed: int
) -> dict[str, ClassScore]:
    """Scores of the classes that the test set has, by name, in the order of the classes.

    Args:
        truth: (M,) int64, indexes into `names`.
        predicted: (M,), by the encoder's features.
        raw: (M,), by raw pixels.
        names: of the classes.
        seed: of the intervals.
    """
    mistakes = mistakes_of(truth, predicted)
    likely: dict[int, tuple[int, int]] = {}
    for label, other, count in zip(*(part.tolist() for part in mistakes), strict=True):
        likely.setdefault(label, (other, count))
    found = {}
    order = np.argsort(truth, kind="stable")
    labels, first = np.unique(truth[order], return_index=True)
    for label, members in zip(labels.tolist(), np.split(order, first[1:]), strict=True):
        score = score_of(predicted[members] == label, seed=seed)
        found[names[label]] = ClassScore(
            samples=len(members),
            accuracy=score.accuracy,
            low=score.low,
            high=score.high,
            raw=float(np.mean(raw[members] == label)),
            taken_for=names[likely[label][0]] if label in likely else None,
            taken_share=likely.get(label, (0, 0))[1] / len(members),
        )
    return found


def class_scores_as_json(scores: dict[str, ClassScore]) -> dict[str, dict[str, Any]]:
    """Plain values, by class."""
    return {name: score._asdict() for name, score in scores.items()}
