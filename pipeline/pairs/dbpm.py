"""DBPM: samples whose pairs were much easier, or much harder, than others weigh less."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pipeline.pairs.base import Miner, Verdict
from pipeline.pairs.config import DBPMConfig
from pipeline.pairs.history import SampleHistory


class DBPM(Miner):
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
        super().__init__(warm_up=config.warm_up)
        self._config = config
        self._mean = 0.0
        self._deviation = 0.0

    def weigh(self, evidence: Tensor, verdicts: Tensor) -> Tensor:
        """1 for clean samples, and for all where histories do not differ."""
        if not self._deviation:
            return torch.ones_like(evidence)
        return torch.where(verdicts != Verdict.clean, self._weight_of_bad(evidence), 1.0)

    def _weight_of_bad(self, evidence_B: Tensor) -> Tensor:
        if self._config.weight == "drop":
            return torch.zeros_like(evidence_B)
        standard = (evidence_B - self._mean) / self._deviation
        bell = torch.exp(-0.5 * standard.square())
        if self._config.weight == "pdf":
            bell = bell / (self._deviation * math.sqrt(2 * math.pi))
        return bell

    def contribution(self, evidence: Tensor, *, epoch: int, epochs: int) -> Tensor:
        """The losses, or with `recency` what the official code makes of them."""
        if self._config.history == "mean":
            return evidence
        return evidence * ((1 + epoch) / epochs)

    def judge(self, means: Tensor, known: Tensor, history: SampleHistory) -> Tensor:
        """Noisy and faulty ones by mean and deviation over all samples."""
        moments = history.moments(means)
        self._mean, self._deviation = moments.mean, moments.deviation
        verdicts = torch.zeros_like(history.verdicts)
        if self._deviation:
            low = self._mean - self._config.noisy * self._deviation
            high = self._mean + self._config.faulty * self._deviation
            verdicts[known & (means <= low)] = Verdict.noisy
            verdicts[known & (means >= high)] = Verdict.faulty
        return verdicts

    def state_dict(self) -> dict[str, Any]:
        """What holds for the epoch, beside the history."""
        return {**super().state_dict(), "mean": self._mean, "deviation": self._deviation}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        super().load_state_dict(state)
        self._mean = state["mean"]
        self._deviation = state["deviation"]
