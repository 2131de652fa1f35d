"""Learning rate and weight decay of a step: warm-up, then half a cosine."""

from __future__ import annotations

import math

from pipeline.learning.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, *, step: int, total_steps: int) -> float:
    """Linear warm-up, then a half cosine (Loshchilov & Hutter, SGDR, 2017).

    Args:
        config: the rates and the share of warm-up.
        step: counted from 0.
        total_steps: of the whole run.
    """
    warmup = round(config.warmup * total_steps)
    if step < warmup:
        # From 0 one step earlier than from a rate that is one.
        done = step / warmup if config.lr_start else (step + 1) / (warmup + 1)
        return config.lr_start + (config.lr - config.lr_start) * done
    return half_cosine(config.lr, config.lr_end, (step - warmup) / max(1, total_steps - warmup))


def half_cosine(start: float, end: float, done: float) -> float:
    """From start to end while `done` goes from 0 to 1."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))


def weight_decay(config: OptimizerConfig, *, progress: float) -> float:
    """Half a cosine from one decay to the other (I-JEPA, Assran et al., 2023, appendix A.1).

    Args:
        config: the two decays.
        progress: share of the run's steps that are done.
    """
    end = config.weight_decay if config.weight_decay_end is None else config.weight_decay_end
    return half_cosine(config.weight_decay, end, progress)
