"""The contracts of miners and arbiters: a new one is one file with a config and a class."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from pipeline.pairs.config import ArbiterConfig as ArbiterConfig
from pipeline.pairs.config import MinerConfig as MinerConfig
from pipeline.pairs.history import SampleHistory


class Verdict(IntEnum):
    """What a miner says of a sample."""

    clean = 0
    noisy = 1  # trivially easy
    faulty = 2  # hopelessly hard


class Miner:
    """Gives verdicts by the history of samples; subclasses implement `judge` and `weigh`."""

    def __init__(self, *, warm_up: int) -> None:
        """Begin with no verdicts.

        Args:
            warm_up: epochs in which losses are only remembered.
        """
        self._warm_up = warm_up
        self._epoch = 0

    def judge(self, means: Tensor, known: Tensor, history: SampleHistory) -> Tensor:
        """Verdicts (n,) uint8 on this rank's samples, for an epoch. Every rank calls this.

        Args:
            means: (n,) float64 of what `contribution` has added up.
            known: (n,) bool, whether there is any; the others are to be clean.
            history: for sums over all ranks.
        """
        raise NotImplementedError

    def weigh(self, evidence: Tensor, verdicts: Tensor) -> Tensor:
        """Weights (B,) of samples of a step, without gradient.

        Args:
            evidence: (B,) the step's losses.
            verdicts: (B,) uint8, of the epoch.
        """
        raise NotImplementedError

    def contribution(self, evidence: Tensor, *, epoch: int, epochs: int) -> Tensor:
        """What the history adds up of losses (B,) in one of so many epochs."""
        return evidence

    def begins(self, epoch: int) -> bool:
        """Whether pairs are weighed in this epoch."""
        return epoch >= self._warm_up

    @torch.no_grad()
    def begin_epoch(self, epoch: int, history: SampleHistory) -> bool:
        """Give the verdicts of an epoch. Every rank calls this before the epoch's first weights.

        Returns:
            Whether they are new.
        """
        if epoch == self._epoch or not self.begins(epoch):
            return False
        self._epoch = epoch
        history.verdicts.copy_(self.judge(history.mean_losses(), history.known, history))
        return True

    def state_dict(self) -> dict[str, Any]:
        """What holds for the epoch, beside the history."""
        return {"epoch": self._epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self._epoch = state["epoch"]


class Arbiter:
    """Weighs by projections, with nothing kept; subclasses implement `weights`."""

    def __init__(self, *, start_epoch: int) -> None:
        """Know when to begin.

        Args:
            start_epoch: first epoch, counted from 0, in which pairs are weighed.
        """
        self._start_epoch = start_epoch

    def begins(self, epoch: int) -> bool:
        """Whether pairs are weighed in this epoch."""
        return epoch >= self._start_epoch

    def weights(self, projections_VBD: Tensor, *, global_views: int) -> Tensor:
        """Weights (V, B) of this rank's samples, 1 on average over all ranks, without gradient.

        Every rank calls this, with equal shapes.

        Args:
            projections_VBD: of this rank, of any length, global views first.
            global_views: how many of the V views there are of that kind.
        """
        raise NotImplementedError
