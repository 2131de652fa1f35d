"""DBPM: samples whose pairs were much easier, or much harder, than others weigh less."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from torch import Tensor

from pipeline.pairs.history import SampleHistory

_SAME = 1e-6  # of the mean: histories that differ by no more are equal but for rounding


class Verdict(IntEnum):
    """What a miner says of a sample."""

    clean = 0
    noisy = 1
    faulty = 2


class DBPMConfig(BaseModel):
    """DBPM (Lan et al., Towards Enhancing Time Series Contrastive Learning, ICLR 2024)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["dbpm"]
    noisy: Annotated[
        FiniteFloat,
        Field(gt=0, description="beta_np: deviations below the mean from which a pair is noisy"),
    ] = 2.0
    faulty: Annotated[
        FiniteFloat,
        Field(gt=0, description="beta_fp: deviations above the mean from which one is faulty"),
    ] = 3.0
    history: Annotated[
        Literal["mean", "recency"],
        Field(description="of past losses: their mean; recency: as the official code has it"),
    ] = "mean"
    weight: Annotated[
        Literal["gaussian", "pdf", "drop"],
        Field(description="of a bad pair: exp(-d^2 / 2); pdf: its density; drop: 0"),
    ] = "gaussian"
    warm_up: Annotated[
        int, Field(ge=1, description="epochs in which losses are only remembered")
    ] = 50


class DBPM:
    """Weights by each sample's history beside all others'.

    With m_i the mean of the past epochs' losses of sample i, mu and sigma the mean and deviation of
    m over all samples, and L_i the loss of this step:

        noisy   where m_i <= mu - noisy * sigma      (equations 3.3 and 3.4)
        faulty  where m_i >= mu + faulty * sigma
        w_i     = exp(-(L_i - mu)^2 / (2 sigma^2)) for both, else 1

    mu, sigma and verdicts are those of the epoch's beginning. Different from the official code: the
    mean is one (`history: recency` is the code's, whose weights (1 + e) / E do not add up to 1),
    and the weight is at most 1 (`weight: pdf` is the code's density, which is above 1 where sigma
    is small).
    """

    def __init__(self, *, config: DBPMConfig) -> None:
        """Keep the settings."""
        self._config = config
        self._epoch = 0
        self._mean = 0.0
        self._deviation = 0.0

    def begins(self, epoch: int) -> bool:
        """Whether pairs are weighed in this epoch."""
        return epoch >= self._config.warm_up

    @torch.no_grad()
    def weights(self, evidence_B: Tensor, places: Tensor, history: SampleHistory) -> Tensor:
        """Weights (B,) of samples, of an epoch that has begun.

        Args:
            evidence_B: this step's losses.
            places: (B,) int64 of the samples in the history.
            history: with the verdicts of the epoch.
        """
        bad = history.verdicts[places] != Verdict.clean
        if not self._deviation:
            return torch.ones_like(evidence_B)
        return torch.where(bad, self._weight_of_bad(evidence_B), 1.0)

    def _weight_of_bad(self, evidence_B: Tensor) -> Tensor:
        if self._config.weight == "drop":
            return torch.zeros_like(evidence_B)
        standard = (evidence_B - self._mean) / self._deviation
        bell = torch.exp(-0.5 * standard.square())
        if self._config.weight == "pdf":
            bell = bell / (self._deviation * math.sqrt(2 * math.pi))
        return bell

    def contribution(self, evidence_B: Tensor, *, epoch: int, epochs: int) -> Tensor:
        """What the history adds up of the losses of a step in one of so many epochs."""
        if self._config.history == "mean":
            return evidence_B
        return evidence_B * ((1 + epoch) / epochs)

    @torch.no_grad()
    def begin_epoch(self, epoch: int, history: SampleHistory) -> bool:
        """Give the verdicts of an epoch. Every rank calls this before the epoch's first weights.

        Sums of streams are added in their order, so that the number of ranks changes no bit.

        Returns:
            Whether they are new.
        """
        if epoch == self._epoch or not self.begins(epoch):
            return False
        self._epoch = epoch
        known = history.seen > 0
        means = torch.where(known, history.losses.double() / history.seen.clamp(min=1), 0.0)
        count, total, squares = history.sums_over_streams(known.double(), means, means.square())
        self._mean = total / max(count, 1.0)
        deviation = math.sqrt(max(0.0, squares / max(count, 1.0) - self._mean**2))
        self._deviation = deviation if deviation > _SAME * abs(self._mean) else 0.0
        history.verdicts.zero_()
        if self._deviation:
            low = self._mean - self._config.noisy * self._deviation
            high = self._mean + self._config.faulty * self._deviation
            history.verdicts[known & (means <= low)] = Verdict.noisy
            history.verdicts[known & (means >= high)] = Verdict.faulty
        return True

    def state_dict(self) -> dict[str, Any]:
        """What holds for the epoch, beside the history."""
        return {"epoch": self._epoch, "mean": self._mean, "deviation": self._deviation}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self._epoch = state["epoch"]
        self._mean = state["mean"]
        self._deviation = state["deviation"]
