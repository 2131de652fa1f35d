"""What a miner and an arbiter take of a training step, by the same steps with and without them.

python -m benchmarks.pair_costs --json

For each objective: seconds of a step without them, of what they do in a step, of the verdicts at an
epoch's beginning, and the share of the step that the two of them take. One thread, resnet18, random
pixels, no data pipeline.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer

from pipeline.learning.learner import LearnerBatch, build_learner
from pipeline.learning.optimization import Optimization
from pipeline.recipe import Recipe

_ROUNDS = 5
_OBJECTIVES: dict[str, dict[str, Any]] = {
    "simclr": {"kind": "simclr", "projector": [2048, 128]},
    "lejepa": {"kind": "lejepa", "projector": [2048, 2048, 64]},
    "vicreg": {"kind": "vicreg", "projector": [2048, 2048, 2048]},
}
_PAIRS = {
    "miner": {"kind": "dbpm", "warm_up": 1},
    "arbiter": {"kind": "uota", "start_epoch": 0},
}
_CPU = torch.device("cpu")


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    batch: Annotated[int, typer.Option(min=2, help="Samples in a step.")] = 256,
    samples: Annotated[
        int, typer.Option(min=2, help="Of the data, all on this worker.")
    ] = 1_000_000,
) -> None:
    """Measure what pairs cost in a step of each objective."""
    torch.set_num_threads(1)
    results = {}
    for name, objective in _OBJECTIVES.items():
        results[name] = _measure(objective, batch, samples)
        print(f"{name:8} {results[name]}", file=sys.stderr)
    if json_:
        print(json.dumps({"batch": batch, "samples": samples, "cases": results}))


def _measure(objective: dict[str, Any], batch: int, samples: int) -> dict[str, float]:
    recipe = Recipe.model_validate(
        {
            "data": {"shards": "unused"},
            "views": {"size": 32},
            "encoder": {"name": "resnet18"},
            "objective": objective,
            "pairs": _PAIRS,
            "train": {"epochs": 2, "global_batch": batch},
        }
    )
    learner = build_learner(recipe)
    learner.pairs.own({0: (0, samples)}, epochs=2, device=_CPU)
    optimization = Optimization(learner, config=recipe.train, seed=0, total_steps=100, device=_CPU)
    draws = torch.Generator().manual_seed(0)
    views = torch.randint(256, (batch, 2, 32, 32, 3), dtype=torch.uint8, generator=draws)
    ids = torch.randperm(samples, generator=draws)[:batch]
    step = LearnerBatch(sample_id=ids, views=(views,), epoch=1)
    result = optimization.step(step)
    assert learner.pairs.miner is not None
    assert learner.pairs.history is not None
    pairs, miner, history = learner.pairs, learner.pairs.miner, learner.pairs.history

    def weigh() -> None:
        weights = pairs.weights(result.losses, global_views=2, epoch=1, sample_id=ids)
        pairs.remember(result.losses, weights, epoch=1, sample_id=ids)

    def judge() -> None:
        miner.judge(history.mean_losses(), history.known, history)

    of_pairs = _seconds(weigh)
    of_step = _seconds(lambda: optimization.step(step)) - of_pairs
    return {
        "step_seconds": round(of_step, 4),
        "pairs_seconds": round(of_pairs, 5),
        "verdicts_seconds": round(_seconds(judge), 4),
        "share": round(of_pairs / of_step, 5),
    }


def _seconds(run: Callable[[], object]) -> float:
    """The median of some rounds, after one that does not count."""
    run()
    found = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


if __name__ == "__main__":
    typer.run(main)
