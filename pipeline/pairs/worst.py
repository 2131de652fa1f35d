"""Which samples are bad by all that is remembered of them, the worst of each sort."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.pairs.base import Miner, Verdict
from pipeline.pairs.history import SampleHistory

OUTLYING = 3.0
"""Deviations below the mean of all samples' mean weights from which a sample is an outlier."""


@dataclass(frozen=True, kw_only=True)
class Worst:
    """The k worst samples of a sort, the worst first, of so many in all; all (k,)."""

    total: int
    sample_id: Tensor  # int64
    mean_loss: Tensor  # float64, of what the miner saw
    deviations: Tensor  # float64, of that mean, above the mean of all samples'
    seen: Tensor  # int64
    miner_weight: Tensor | None  # float64, of a pair with that mean loss; None: no miner
    arbiter_weight: Tensor | None  # float64, its mean; None: the run has no arbiter


@torch.no_grad()
def worst_samples(
    history: SampleHistory, *, miner: Miner | None, arbitrated: bool, at_most: int
) -> dict[str, Worst]:
    """The worst samples of each sort that a run can tell.

    Noisy and faulty are those of the miner's verdicts on the whole history, and the worst those
    whose mean loss is furthest from the mean of all. Outliers are those whose mean weight is at
    least `OUTLYING` deviations below the mean of all, and the worst those that weigh least. A
    sample may be of two sorts; of equally bad ones the first come first.

    Args:
        history: of all samples of the run, on one rank.
        miner: of the run, with its state; None: there are no noisy and no faulty ones.
        arbitrated: whether the run has an arbiter; else there are no outliers.
        at_most: samples of each sort.

    Returns:
        By the names of sorts, `noisy`, `faulty` and `outlier`.
    """
    bad: dict[str, Tensor] = {}  # places of each sort
    verdicts = torch.zeros_like(history.verdicts)
    if miner is not None:
        miner = copy(miner)  # what it keeps of a judgement is the epoch's
        verdicts = miner.judge(history.mean_losses(), history.known, history)
        for verdict in (Verdict.noisy, Verdict.faulty):
            bad[verdict.name] = (verdicts == verdict).nonzero().flatten()
    means = history.mean_losses()
    of_means = history.moments(means)
    chosen = {
        name: _worst(places, of_means.deviations(means[places]).abs(), at_most)
        for name, places in bad.items()
    }
    weights = None
    if arbitrated:
        weights = history.mean_weights()
        deviations = history.moments(weights).deviations(weights)
        bad["outlier"] = (history.known & (deviations <= -OUTLYING)).nonzero().flatten()
        chosen["outlier"] = _worst(bad["outlier"], -weights[bad["outlier"]], at_most)
    return {
        name: Worst(
            total=len(bad[name]),
            sample_id=history.sample_ids(places),
            mean_loss=means[places],
            deviations=of_means.deviations(means[places]),
            seen=history.seen[places].long(),
            miner_weight=miner.weigh(means[places], verdicts[places]) if miner else None,
            arbiter_weight=None if weights is None else weights[places],
        )
        for name, places in chosen.items()
    }


def _worst(places: Tensor, badness: Tensor, at_most: int) -> Tensor:
    """At most so many places (k,) of those given in order (n,), by their badness (n,)."""
    if len(places) > at_most:
        # To sort all of them would take long where most samples are bad.
        least = badness.topk(at_most).values[-1]
        kept = badness >= least
        places, badness = places[kept], badness[kept]
    return places[badness.argsort(descending=True, stable=True)[:at_most]]
