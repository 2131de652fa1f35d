"""Temperatures: fixed, on a schedule, or learnt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipeline.objectives.configs.temperature import TemperatureConfig


class Temperature(nn.Module):
    """A temperature as it changes during a run."""

    def __init__(self, config: TemperatureConfig) -> None:
        super().__init__()
        self._config = config
        # By its logarithm, so that a step changes it by a factor (as in CLIP).
        start = torch.tensor(math.log(config.start))
        self.log_value = nn.Parameter(start) if config.learnable else None

    def forward(self, progress: float) -> Tensor | float:
        """Tau; a scalar with gradient if it is learnt.

        Args:
            progress: share of the run's steps that are done, 0 to 1.
        """
        if self.log_value is not None:
            return self.log_value.exp()
        start, end = self._config.start, self._config.end
        if end is None:
            return start
        return end - (end - start) * (1 + math.cos(math.pi * progress)) / 2

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring a learnt one back within its bounds; to be called after each step."""
        if self.log_value is not None:
            self.log_value.clamp_(math.log(self._config.least), math.log(self._config.most))
