"""Which samples a study of bad pairs spoils, and how well the pipeline tells them from others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from pipeline.pairs.base import Verdict
from pipeline.pairs.config import MinerConfig
from pipeline.pairs.history import SampleHistory
from pipeline.randomness import permutation

SORTS = ("noisy", "faulty", "outlier")

Sorts = npt.NDArray[np.int64]
"""What is planted in each sample, (n,): an index of `SORTS`, -1 for nothing."""


def planted_sorts(samples: int, sorts: Sequence[str], *, share: float, seed: int) -> Sorts:
    """This share of the samples for each sort."""
    found = np.full(samples, -1)
    order, count = permutation(samples, "planted", seed), round(share * samples)
    for number, sort in enumerate(SORTS):
        if sort in sorts:
            found[order[number * count : (number + 1) * count]] = number
    return found


def detection(
    history: SampleHistory,
    sorts: Sorts,
    miner: MinerConfig,
    *,
    noise_is: Verdict = Verdict.noisy,
) -> dict[str, float]:
    """How well histories and weights tell planted samples from those that are not.

    `noise_is` says at which end planted noise is looked for: as the easiest pairs, or, with
    `faulty`, as the hardest.

    Precision and recall are of what the miner would say now, be it in its warm-up or not. Outliers
    are judged by the arbiter's weights where it has given some, and by the losses. Samples planted
    with another sort are left out of each figure: to turn them down is no mistake either.
    """
    means = history.mean_losses().numpy()
    verdicts = miner.build().judge(history.mean_losses(), history.known, history).numpy()
    clean = sorts < 0
    of_noise = -means if noise_is is Verdict.noisy else means
    scores = {"noisy_auc": of_noise, "faulty_auc": means, "outlier_auc_of_loss": means}
    if history.weights.any():
        scores["outlier_auc"] = -history.mean_weights().numpy()
    found: dict[str, float] = {}
    for name, score in scores.items():
        own = sorts == SORTS.index(name.partition("_")[0])
        if own.any():
            either = own | clean
            found[name] = float(roc_auc_score(own[either], score[either]))
    for sort, verdict in (("noisy", noise_is), ("faulty", Verdict.faulty)):
        own = sorts == SORTS.index(sort)
        flagged = (verdicts == verdict) & (own | clean)
        if own.any():
            if flagged.any():
                found[f"{sort}_precision"] = float((flagged & own).sum() / flagged.sum())
            found[f"{sort}_recall"] = float((flagged & own).sum() / own.sum())
    return found
