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
            most: bound of the two's product.
            normalize: whether weights are divided by their mean over the global batch.
        """
        self.miner = miner
        self.arbiter = arbiter
        self.history: SampleHistory | None = None
        """What is remembered of this rank's samples, since `own`."""
        self._most = most
        self._normalize = normalize
        self._epochs = 1
        self._arbiters_weight_of_bad = 1.0

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
        mined = self._mined(losses, epoch=epoch, sample_id=sample_id)
        arbitrated = self._arbitrated(losses, global_views=global_views, epoch=epoch)
        if mined is None and arbitrated is None:
            return uniform_weights(losses)
        total = torch.ones_like(losses.loss)
        for part in (mined, arbitrated):
            if part is not None:
                total = total * part
        total = total.clamp(max=self._most)
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
            self._compare(self.history)
        places = self.history.places(sample_id)
        return self.miner.weigh(losses.evidence, self.history.verdicts[places])

    def _compare(self, history: SampleHistory) -> None:
        """How the arbiter has weighed what the miner now finds bad. Every rank calls this."""
        if self.arbiter is None:
            return
        bad = history.verdicts != Verdict.clean
        seen, excess = history.sums_over_streams(
            torch.where(bad, history.seen, 0).double(),
            torch.where(bad, history.weights, 0).double(),
        )
        self._arbiters_weight_of_bad = 1 + excess / seen if seen else 1.0

    @property
    def conflict(self) -> str | None:
        """What is to be said where miner and arbiter work against each other."""
        if self._arbiters_weight_of_bad < _RAISED:
            return None
        return (
            "pairs: the arbiter has raised what the miner turns down: bad samples had weights of "
            f"{self._arbiters_weight_of_bad:.2f} on average; leave one of the two out"
        )

    def _arbitrated(self, losses: PairLosses, *, global_views: int, epoch: int) -> Tensor | None:
        if self.arbiter is None:
            return None
        if not self.arbiter.begins(epoch):
            return torch.ones_like(losses.loss)
        return self.arbiter.weights(losses.projections, global_views=global_views)

    @torch.no_grad()
    def remember(
        self, losses: PairLosses, weights: PairWeights, *, epoch: int, sample_id: Tensor
    ) -> None:
        """Add a step to the history, if there is one; arguments as for `weights`."""
        if self.history is None:
            return
        evidence = losses.evidence
        if self.miner is not None:
            evidence = self.miner.contribution(evidence, epoch=epoch, epochs=self._epochs)
        excess = None if weights.arbitrated is None else weights.arbitrated.mean(dim=0) - 1
        self.history.add(self.history.places(sample_id), losses=evidence, weights=excess)

    def state_dict(self) -> dict[str, Any]:
        """What is kept from step to step, beside the history."""
        return {
            "miner": None if self.miner is None else self.miner.state_dict(),
            "arbiter's weight of bad": self._arbiters_weight_of_bad,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        if self.miner is not None:
            self.miner.load_state_dict(state["miner"])
        self._arbiters_weight_of_bad = state["arbiter's weight of bad"]


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
