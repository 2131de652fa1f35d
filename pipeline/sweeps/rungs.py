"""Where ASHA decides."""

from __future__ import annotations

import math

from pipeline.sweeps.config import ASHAConfig, SweepConfig


def rungs(config: SweepConfig, *, every: int, total: int) -> list[int]:
    """Steps at which ASHA decides; empty without it.

    Args:
        config: the recipe's `sweep` section.
        every: steps between looks.
        total: steps of a trial.
    """
    if not isinstance(config.scheduler, ASHAConfig):
        return []
    found, step = [], float(config.scheduler.grace * every)
    while step < total:
        found.append(math.ceil(step))
        step *= config.scheduler.reduction
    return found
