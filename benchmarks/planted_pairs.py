"""Which samples a study of bad pairs spoils, and how well the pipeline tells them from others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from pipeline.pairs.base import Verdict
from pipeline.pairs.history import SampleHistory
from pipeline.randomness import permutation

PLANTED = 0.05  # of the samples, of each sort
SORTS = ("noisy", "faulty", "outlier")

Sorts = npt.NDArray[np.int64]
"""What is planted in each sample, (n,): an index of `SORTS`, -1 for nothing."""


def planted_sorts(samples: int, sorts: Sequence[str], *, seed: int) -> Sorts:
    """An equal share of the samples for each sort."""
    found = np.full(samples, -1)
    order, count = permutation(samples, "planted", seed), round(PLANTED * samples)
    for number, sort in enumerate(SORTS):
        if sort in sorts:
            found[order[number * count : (number + 1) * count]] = number
    return found


def detection(history: SampleHistory, sorts: Sorts) -> dict[str, float]:
    """How well histories and weights tell planted samples from those that are not."""
    means = (history.losses / history.seen.clamp(min=1)).numpy()
    verdicts, clean = history.verdicts.numpy(), sorts < 0
    scores = {"noisy": -means, "faulty": means, "outlier": -history.weights.numpy()}
    found: dict[str, float] = {}
    for number, sort in enumerate(SORTS):
        own = sorts == number
        if not own.any():
            continue
        either = own | clean
        found[f"{sort}_auc"] = float(roc_auc_score(own[either], scores[sort][either]))
        if sort == "outlier":
            found[f"{sort}_auc_of_loss"] = float(roc_auc_score(own[either], means[either]))
            continue
        flagged = verdicts == Verdict[sort]
        if flagged.any():
            found[f"{sort}_precision"] = float((flagged & own).sum() / flagged.sum())
        found[f"{sort}_recall"] = float((flagged & own).sum() / own.sum())
    return found
