"""Seconds from the death of a worker to the next new step, and what a checkpoint costs.

    python benchmarks/recovery.py --json

The first on a real run of two workers through Ray, one of which is killed; the second on a ViT-S
and its AdamW moments, copied for a checkpoint and then written while training would go on.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

_CLIPART = Path(__file__).parents[1] / "tests" / "fixtures" / "openclipart_ci_32.npz"
_BETWEEN_CHECKPOINTS = 600.0  # seconds


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Kills, each in a run of its own.")] = 3,
) -> None:
    """Kill a worker, wait for training to go on; then time checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        recoveries = [_recovery(Path(folder), number) for number in range(repeats)]
        copying, writing, size = _checkpoint(Path(folder) / "checkpoints")
    report = {
        "seconds_to_next_step": [round(seconds, 1) for seconds in recoveries],
        "checkpoint_bytes": size,
        "checkpoint_seconds_training_waits": round(copying, 3),
        "checkpoint_seconds_in_background": round(writing, 3),
        "checkpoint_share_at_one_in_10_minutes": round(copying / _BETWEEN_CHECKPOINTS, 5),
    }
    for name, value in report.items():
        print(f"{name:40} {value}", file=sys.stderr)
    if json_:
        print(json.dumps(report))


def _recovery(folder: Path, number: int) -> float:
    import yaml

    (folder / "recipe.yaml").write_text(yaml.safe_dump(_recipe(folder, number)))
    run = subprocess.Popen(
        [sys.executable, "-m", "jobs", "pretrain", "recipe.yaml"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    journal = folder / "runs" / "recovery" / f"run-{number}" / "journal.jsonl"
    try:
        while not _after(journal, 30):
            time.sleep(0.02)
        (workers,) = (r["workers"] for r in _records(journal) if r.get("event") == "training")
        os.kill(workers[1]["pid"], signal.SIGKILL)
        killed = time.time()
        reached = max(r["step"] for r in _records(journal) if r["kind"] == "metrics")
        while not (later := _after(journal, reached + 1)):
            time.sleep(0.02)
        return float(later[0]["time"] - killed)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def _recipe(folder: Path, number: int) -> dict[str, Any]:
    from pipeline.data.sharding import write_shards
    from pipeline.data.sources import open_source

    if not (folder / "shards").exists():
        write_shards(
            open_source(_CLIPART, labels="y", images="x"),
            folder / "shards",
            kind="tar",
            samples_per_shard=70,
            test_fraction=0.0,
            seed=0,
            progress=lambda count: None,
        )
    return {
        "name": f"run-{number}",
        "data": {"shards": str(folder / "shards"), "streams": 4, "shuffle_window": 64},
        "views": {"size": 32},
        "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
        "objective": {"kind": "simclr", "projector": [16]},
        "train": {
            "epochs": 2000,
            "global_batch": 24,
            "workers": 2,
            "log_every": 1,
            "checkpoint": {"every_steps": 5},
        },
        "tracking": {"experiment": "recovery", "storage": str(folder / "runs")},
    }


def _records(journal: Path) -> list[dict[str, Any]]:
    if not journal.exists():
        return []
    return [json.loads(line) for line in journal.open() if line.endswith("}\n")]


def _after(journal: Path, step: int) -> list[dict[str, Any]]:
    return [r for r in _records(journal) if r["kind"] == "metrics" and r["step"] >= step]


def _checkpoint(root: Path) -> tuple[float, float, int]:
    """Seconds that training waits, seconds of writing, and bytes."""
    import torch

    from pipeline.recipe import Recipe
    from pipeline.training.checkpoint import CheckpointStore
    from pipeline.training.learner import build_learner
    from pipeline.training.optimization import Optimization

    recipe = Recipe.model_validate(
        {
            "data": {"shards": "unused"},
            "views": {"size": 224},
            "encoder": {"name": "vit_small_patch16_224"},
            "objective": {"kind": "simclr"},
            "train": {"steps": 10, "global_batch": 2},
        }
    )
    optimization = Optimization(
        build_learner(recipe),
        config=recipe.train,
        seed=0,
        total_steps=10,
        device=torch.device("cpu"),
    )
    views = (torch.zeros(2, 2, 224, 224, 3, dtype=torch.uint8),)
    optimization.step(torch.arange(2), views)  # from here on there are moments
    store = CheckpointStore(str(root), keep=1)
    store.register("optimization", optimization)
    copying, writing = [], []
    for step in range(4):
        started = time.perf_counter()
        store.save(step, metrics={})
        copied = time.perf_counter()
        store.wait()
        copying.append(copied - started)
        writing.append(time.perf_counter() - copied)
    size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    return statistics.median(copying), statistics.median(writing), size


if __name__ == "__main__":
    typer.run(main)
