"""What a step on masked patches costs, beside encoding all patches with gradient.

    python -m benchmarks.patches --json

One thread, random pixels, no data pipeline; the predictor is half as wide as the encoder, as
I-JEPA's is for ViT-B, and has six blocks. The ratio is of turns that follow one another; FLOPs are
those of matrix products as torch counts them, padding of target blocks included, and the machine's
rate is that of a product of two large matrices measured between the turns.
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
from torch.utils.flop_counter import FlopCounterMode

from pipeline.learning.feed import Feed
from pipeline.learning.learner import Learner, LearnerBatch, build_learner
from pipeline.recipe import Recipe

_ENCODERS: dict[str, dict[str, Any]] = {
    "ViT-S/16 at 224": {"name": "vit_small_patch16_224", "size": 224, "embed_dim": 384},
    "ViT-Ti/4 at 32": {
        "name": "vit_tiny_patch16_224",
        "size": 32,
        "patch_size": 4,
        "embed_dim": 192,
    },
}
_OBJECTIVES = ("ijepa", "dmt_jepa")
_SIDE = 2048  # of the matrices whose product gives the machine's rate


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contender.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Samples.")] = 16,
) -> None:
    """Compare a step of each masked objective with encoding all patches."""
    torch.set_num_threads(1)
    results = {}
    for encoder in _ENCODERS:
        for objective in _OBJECTIVES:
            name = f"{objective}, {encoder}"
            results[name] = _measure(_recipe(encoder, objective), rounds=rounds, batch=batch)
            print(f"{name:32} {results[name]}", file=sys.stderr)
    if json_:
        print(json.dumps({"rounds": rounds, "batch": batch, "cases": results}))


def _recipe(encoder: str, objective: str) -> Recipe:
    settings = dict(_ENCODERS[encoder])
    name, size = settings.pop("name"), settings.pop("size")
    pooled = {"class_token": False, "global_pool": "avg", "fc_norm": False}
    return Recipe.model_validate(
        {
            "data": {"shards": "unused"},
            "views": {"size": size, "count": 1, "masks": {"kind": "multiblock"}},
            "encoder": {
                "name": name,
                "args": {"img_size": size, **settings, **pooled},
                "positions": "sincos",
            },
            "objective": {
                "kind": objective,
                "predictor": {"width": settings["embed_dim"] // 2, "depth": 6},
            },
            "train": {"epochs": 1},
        }
    )


def _measure(recipe: Recipe, *, rounds: int, batch: int) -> dict[str, Any]:
    learner = build_learner(recipe)
    feed = Feed(recipe, grid=learner.objective.grid, device=torch.device("cpu"))
    masked = feed.noise(batch)
    whole = LearnerBatch(sample_id=masked.sample_id, views=masked.views)
    contenders: dict[str, Callable[[], None]] = {
        "masked": lambda: _backward(learner, masked),
        "all": lambda: _encode_all(learner, whole),
    }
    flops = {name: _flops(run) for name, run in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    shares = []
    for _ in range(rounds):
        rate = _matmul_rate()
        for name, run in contenders.items():
            seconds[name].append(_seconds(run))
        shares.append(flops["masked"] / seconds["masked"][-1] / rate)
    ratios = [m / a for m, a in zip(seconds["masked"], seconds["all"], strict=True)]
    return {
        "time_ratio": round(statistics.median(ratios), 3),
        "time_ratio_least": round(min(ratios), 3),
        "time_ratio_most": round(max(ratios), 3),
        "flops_ratio": round(flops["masked"] / flops["all"], 3),
        "gflops_per_image": round(flops["masked"] / batch / 1e9, 3),
        "padding": round(_padding(masked), 3),
        "share_of_matmul_rate": round(statistics.median(shares), 3),
        "images_per_second": round(batch / statistics.median(seconds["masked"]), 1),
    }


def _backward(learner: Learner, batch: LearnerBatch) -> None:
    """A whole step but for the optimizer's part: twin, context, predictor, gradient."""
    learner.step(batch).total.backward()


def _padding(batch: LearnerBatch) -> float:
    """The share of what the predictor is asked that only makes all blocks equally long."""
    assert batch.masks is not None
    return 1 - float(batch.masks.counted.double().mean())


def _encode_all(learner: Learner, batch: LearnerBatch) -> None:
    """What a method without masks cannot do without: all patches of one view, with gradient."""
    normal = learner.normalise(batch.views[0])
    learner.encoder(normal).square().mean().backward()


def _flops(run: Callable[[], None]) -> int:
    run()  # so that nothing of a first call is counted
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def _seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _matmul_rate() -> float:
    """FLOPs a second of one large product in float32."""
    left, right = torch.rand(2, _SIDE, _SIDE)
    began = time.perf_counter()
    torch.mm(left, right)
    return 2 * _SIDE**3 / (time.perf_counter() - began)


if __name__ == "__main__":
    typer.run(main)
