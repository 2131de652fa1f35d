"""The loss that is minimised, from pair losses and their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline import collectives
from pipeline.objectives.base import PairLosses
from pipeline.pairs.base import Arbiter, Miner, Verdict
from pipeline.pairs.history import SampleHistory

_BAD = (Verdict.noisy, Verdict.faulty)
_RAISED = 1.05  # mean weight of bad samples that is no accident


@dataclass(frozen=True, kw_only=True)
class PairWeights:
    """Of a step's pairs on this rank; no gradient flows through them."""

    total: Tensor  # (V, B), what losses are weighted by
    mined: Tensor | None = None  # (B,), the miner's part, if there is one
    arbitrated: Tensor | None = None  # (V, B), the arbiter's part, if there is one


class PairWeighting:
    """Weighs pairs by a miner and an arbiter, if there are."""

    def __init__(
        self,
        *,
        miner: Miner | None = None,
        arbiter: Arbiter | None = None,
        most: float = float("inf"),
        normalize: bool = False,
    ) -> None:
        """Keep what weighs.

        Args:
            miner: weighs by the losses of past epochs.
            arbiter: weighs by projections.
            most: bound of the two's product; what is below 0 counts as 0.
            normalize: whether weights are divided by their mean over the global batch.
        """
        self.miner = miner
        self.arbiter = arbiter
        self.history: SampleHistory | None = None
        """What is remembered of this rank's samples, since `own`."""
        self._most = most
        self._normalize = normalize
        self._epochs = 1
        self._epoch = 0
        self._sums_of_bad: Tensor | None = None  # of this epoch; see `_note_bad`
        self._arbiters_weights = dict.fromkeys(_BAD, 1.0)

    def own(
        self, ranges: Mapping[int, tuple[int, int]], *, epochs: int, device: torch.device
    ) -> None:
        """Remember the samples of this rank's streams; without weights to find there is no need.

        Args:
            ranges: see `SampleHistory`.
            epochs: of the whole run.
            device: where batches are.
        """
        self._epochs = epochs
        if self.miner is not None or self.arbiter is not None:
            self.history = SampleHistory(ranges, device=device)

    @torch.no_grad()
    def weights(
        self, losses: PairLosses, *, global_views: int, epoch: int, sample_id: Tensor
    ) -> PairWeights:
        """The weights of this rank's pairs. Every rank calls this, with equal shapes and epoch.

        Args:
            losses: of this rank's samples.
            global_views: how many of the V views there are of that kind; they come first.
            epoch: counted from 0.
            sample_id: (B,) int64.
        """
        if self.history is not None and epoch != self._epoch:
            self.history.centre()
        self._epoch = epoch
        mined = self._mined(losses, epoch=epoch, sample_id=sample_id)
        arbitrated = self._arbitrated(losses, global_views=global_views, epoch=epoch)
        if mined is None and arbitrated is None:
            return uniform_weights(losses)
        total = torch.ones_like(losses.loss)
        for part in (mined, arbitrated):
            if part is not None:
                total = total * part
        total = total.clamp(min=0, max=self._most)
        if self._normalize:
            mean = collectives.all_sum(total.double().mean()) / collectives.world_size()
            total = total / mean.clamp(min=torch.finfo(total.dtype).tiny).to(total.dtype)
        return PairWeights(total=total, mined=mined, arbitrated=arbitrated)

    def _mined(self, losses: PairLosses, *, epoch: int, sample_id: Tensor) -> Tensor | None:
        if self.miner is None:
            return None
        if not self.miner.begins(epoch):
            return torch.ones_like(losses.evidence)
        if self.history is None:
            raise RuntimeError("a miner needs the ranges of its samples: call `own` first")
        if self.miner.begin_epoch(epoch, self.history):
            self.conclude()
        places = self.history.places(sample_id)
        return self.miner.weigh(losses.evidence, self.history.verdicts[places])

    def _note_bad(self, verdicts_B: Tensor, arbitrated_VB: Tensor) -> None:
        """Add up how many samples of each sort the epoch had, and what the arbiter gave them.

        Every rank calls this.
        """
        weight_B = arbitrated_VB.double().mean(dim=0)
        rows = []
        for verdict in _BAD:
            bad = (verdicts_B == verdict).double()
            rows.append(torch.stack([bad.sum(), (bad * weight_B).sum()]))
        sums = collectives.all_sum(torch.stack(rows))
        if self._sums_of_bad is not None:
            sums = sums + self._sums_of_bad.to(sums)
        self._sums_of_bad = sums

    def conclude(self) -> None:
        """Find out how the arbiter has weighed each bad sort in the epoch that has ended.

        Whoever trains calls this after the last step; other epochs end when the next one begins.
        """
        if self._sums_of_bad is None:
            return
        for verdict, (count, weight) in zip(_BAD, self._sums_of_bad.tolist(), strict=True):
            self._arbiters_weights[verdict] = weight / count if count else 1.0
        self._sums_of_bad = None

    @property
    def conflict(self) -> str | None:
        """What is to be said where miner and arbiter work against each other."""
        raised = [
            f"{weight:.2f} for {verdict.name} ones"
            for verdict, weight in self._arbiters_weights.items()
            if weight >= _RAISED
        ]
        if not raised:
            return None
        return (
            "pairs: the arbiter raises samples that the miner turns down, to a weight of "
            f"{' and '.join(raised)} in the last epoch; leave one of the two out"
        )

    def _arbitrated(self, losses: PairLosses, *, global_views: int, epoch: int) -> Tensor | None:
        if self.arbiter is None:
            return None
        if not self.arbiter.begins(epoch):
            return torch.ones_like(losses.loss)
        seen = losses.projections if losses.arbitrated is None else losses.arbitrated
        return self.arbiter.weights(seen, global_views=global_views)

    @torch.no_grad()
    def remember(
        self, losses: PairLosses, weights: PairWeights, *, epoch: int, sample_id: Tensor
    ) -> None:
        """Add a step to the history, if there is one. Every rank calls this.

        Arguments as for `weights`.
        """
        if self.history is None:
            return
        places, evidence = self.history.places(sample_id), losses.evidence
        if self.miner is not None:
            evidence = self.miner.contribution(evidence, epoch=epoch, epochs=self._epochs)
            if weights.arbitrated is not None and self.miner.begins(epoch):
                self._note_bad(self.history.verdicts[places], weights.arbitrated)
        excess = None if weights.arbitrated is None else weights.arbitrated.mean(dim=0) - 1
        self.history.add(places, losses=evidence, weights=excess)

    def state_dict(self) -> dict[str, Any]:
        """What is kept from step to step, beside the history."""
        return {
            "epoch": self._epoch,
            "history": None if self.history is None else self.history.state_dict(),
            "miner": None if self.miner is None else self.miner.state_dict(),
            "sums of bad": None if self._sums_of_bad is None else self._sums_of_bad.tolist(),
            "arbiter's weights": list(self._arbiters_weights.values()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state; `own` comes first."""
        self._epoch = state["epoch"]
        if self.history is not None:
            self.history.load_state_dict(state["history"])
        if self.miner is not None:
            self.miner.load_state_dict(state["miner"])
        sums = state["sums of bad"]
        self._sums_of_bad = None if sums is None else torch.tensor(sums, dtype=torch.float64)
        self._arbiters_weights = dict(zip(_BAD, state["arbiter's weights"], strict=True))


def uniform_weights(losses: PairLosses) -> PairWeights:
    """Weight 1 for every pair."""
    return PairWeights(total=torch.ones_like(losses.loss))


def weighted_total(losses: PairLosses, weights: PairWeights) -> Tensor:
    """mean(w * loss) + sum(terms), a scalar.

    Args:
        losses: of this rank's samples.
        weights: of its pairs; no gradient flows through them.
    """
    total = (weights.total.detach() * losses.loss).mean()
    for term in losses.terms.values():
        total = total + term
    return total


def weight_signs(weights: PairWeights) -> dict[str, Tensor]:
    """How far weights spread, as scalars. Every rank calls this, with equal shapes.

    Args:
        weights: of this rank.

    Returns:
        Of the arbiter's weights and of the miner's, where there are some, `arbiter_weight_least`
        and `arbiter_weight_most` of this rank, and of all ranks `arbiter_effective_share`: as how
        large a share of the views, all weighed alike, they count (Kish, Survey Sampling, 1965:
        (sum w)^2 / (n sum w^2)); `miner_…` of the samples; and `miner_bad_share`, of samples whose
        weight is not 1.
    """
    found: dict[str, Tensor] = {}
    for name, part in (("arbiter", weights.arbitrated), ("miner", weights.mined)):
        if part is None:
            continue
        bad = (part != 1).double().mean()
        moments = torch.stack([part.double().mean(), part.double().square().mean(), bad])
        mean, mean_square, bad = collectives.all_sum(moments) / collectives.world_size()
        found |= {
            f"{name}_weight_least": part.amin(),
            f"{name}_weight_most": part.amax(),
            f"{name}_effective_share": mean.square() / mean_square.clamp(min=1e-300),
        }
        if name == "miner":
            found["miner_bad_share"] = bad
    return found
