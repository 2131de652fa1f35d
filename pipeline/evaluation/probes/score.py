"""A probe's score: its accuracy, and how far another test set of the same size might differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.probes.bootstrap import accuracy_interval


class Score(NamedTuple):
    """Share of test samples that a probe gets right, with its 95 % interval."""

    accuracy: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.accuracy:.3f} [{self.low:.3f}, {self.high:.3f}]"


def score_of(correct: npt.NDArray[np.bool_], *, seed: int) -> Score:
    """The score of a probe that got these test samples right.

    Args:
        correct: (M,), M > 0.
        seed: of the interval's resamples.
    """
    return Score(float(np.mean(correct)), *accuracy_interval(correct, seed=seed))


def scores_as_json(scores: Mapping[str, Score]) -> dict[str, dict[str, Any]]:
    """Scores as results hold them: `probes` {name: accuracy}, `intervals` {name: [low, high]}."""
    return {
        "probes": {name: score.accuracy for name, score in scores.items()},
        "intervals": {name: [score.low, score.high] for name, score in scores.items()},
    }


def scores_from_json(result: Mapping[str, Any]) -> dict[str, Score]:
    """What `scores_as_json` made the `probes` and `intervals` of."""
    intervals = result["intervals"]
    return {name: Score(value, *intervals[name]) for name, value in result["probes"].items()}
