"""The best configuration, trained again with several seeds, told on test and registered."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.recipe import Recipe
from pipeline.registry.sweep_runs import SweepRuns
from pipeline.sweeps.ledger import Trial
from pipeline.sweeps.outcome import scores_of
from pipeline.sweeps.spaces.recipes import sweep_config, winner_recipe
from pipeline.training.driver import pretrain


def train_winner(
    recipe: Recipe, trial: Trial, runs: SweepRuns, *, sweep: str, verbose: bool
) -> dict[str, Any]:
    """Train the best configuration from anew, as `jobs pretrain` does; what is done is kept.

    The first seed's encoder is registered, whichever is best on test: that is not looked at.

    Args:
        recipe: of the sweep.
        trial: the best.
        runs: of the sweep in MLflow, which get those of the training.
        sweep: the sweep's name.
        verbose: show Ray's own log.

    Returns:
        `best` of what `jobs sweep` says.
    """
    config = sweep_config(recipe)
    results = []
    tested = recipe.evaluate.test is not None
    for seed in range(config.winner_seeds):
        number = f"{seed + 1} of {config.winner_seeds}"
        print(f"trial {trial.number} is the best; training it again, {number}", file=sys.stderr)
        again = winner_recipe(recipe, trial.params, sweep=sweep, trial=trial.number, seed=seed)
        figures = pretrain(again, verbose=verbose).figures
        runs.adopt(figures["run_id"])
        results.append(figures)
    return {
        "trial": trial.number,
        "params": trial.params,
        "validation": scores_of(trial, config),
        "test": _means([figures["probes"] for figures in results]) if tested else None,
        "run_id": results[0]["run_id"],
        "model": results[0]["model"],
        "encoder": f"{results[0]['folder']}/encoder",
        "runs": [figures["run"] for figures in results],
    }


def _means(of_seeds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over seeds, with `NAME_error` of several."""
    found: dict[str, float] = {}
    for name in of_seeds[0]:
        values = np.array([scores[name] for scores in of_seeds])
        found[name] = float(values.mean())
        if len(values) > 1:
            found[f"{name}_error"] = float(values.std(ddof=1) / len(values) ** 0.5)
    return found
