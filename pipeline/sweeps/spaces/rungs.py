"""Where ASHA decides."""

from __future__ import annotations

import math

from pipeline.sweeps.spaces.config import ASHAConfig, SweepConfig


def rungs(config: SweepConfig, *, every: int, total: int) -> list[int]:
    """Steps at which ASHA decides; empty without it.

    Args:
        config: the recipe's `sweep` section.
        every: steps between looks.
        total: steps of a trial.
    """
    if not isinstance(config.scheduler, ASHAConfig):
        return []
    found, look = [], float(config.scheduler.grace)
    while (step := math.ceil(look) * every) < total:
        found.append(step)
        look *= config.scheduler.reduction
    return list(dict.fromkeys(found))
