"""Seconds from a death to the next new step, and what a checkpoint costs.

    python -m benchmarks.recovery --json

The first on real runs of two workers through Ray, of which one is killed, or the whole node that it
is on; the second on a ViT-S and its AdamW moments, copied for a checkpoint and then written while
training would go on.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from benchmarks.shared.places import CLIPART

_BETWEEN_CHECKPOINTS = 600.0  # seconds


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Runs for each kind of death.")] = 3,
) -> None:
    """Kill workers and nodes, wait for training to go on; then time checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = range(repeats)
        deaths = [_after_worker_death(Path(folder), number) for number in numbers]
        losses = [_after_node_loss(Path(folder), number) for number in numbers]
        copying, writing, size = _checkpoint(Path(folder) / "checkpoints")
    report = {
        "seconds_to_next_step_after_worker_death": [round(seconds, 1) for seconds in deaths],
        "seconds_to_next_step_after_node_loss": [round(seconds, 1) for seconds in losses],
        "checkpoint_bytes": size,
        "checkpoint_seconds_training_waits": round(copying, 3),
        "checkpoint_seconds_in_background": round(writing, 3),
        "checkpoint_share_at_one_in_10_minutes": round(copying / _BETWEEN_CHECKPOINTS, 5),
    }
    for name, value in report.items():
        print(f"{name:45} {value}", file=sys.stderr)
    if json_:
        print(json.dumps(report))


def _after_worker_death(folder: Path, number: int) -> float:
    run = _Run(folder, f"worker-{number}", workers=2)
    with run.started():
        return run.seconds_to_next_step(lambda: os.kill(run.last_worker(), signal.SIGKILL))


def _after_node_loss(folder: Path, number: int) -> float:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    run = _Run(folder, f"node-{number}", workers=[1, 2])
    try:
        with run.started(RAY_ADDRESS=cluster.address):
            return run.seconds_to_next_step(lambda: cluster.remove_node(node, allow_graceful=False))
    finally:
        cluster.shutdown()


class _Run:
    """`pretrain` in a process of its own, followed through its journal."""

    def __init__(self, folder: Path, name: str, *, workers: int | list[int]) -> None:
        self._folder = folder
        self._journal = folder / "runs" / "recovery" / name / "journal.jsonl"
        recipe = _recipe(folder, name=name, workers=workers)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    @contextmanager
    def started(self, **environment: str) -> Iterator[None]:
        """The run, which never ends by itself, until the body does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs", "pretrain", "recipe.yaml"],
            cwd=self._folder,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def seconds_to_next_step(self, kill: Callable[[], None]) -> float:
        """Kill at step 30; the time until a step is noted that the run had not come to before."""
        while len(self._steps_by_start()[-1]) < 30:
            time.sleep(0.02)
        killed = time.time()
        kill()
        while len(self._steps_by_start()) == 2 or not self._steps_by_start()[-1]:
            time.sleep(0.02)
        return float(self._steps_by_start()[-1][0]["time"] - killed)

    def last_worker(self) -> int:
        """The process id of the last rank."""
        starts = [r for r in self._records() if r.get("event") == "training"]
        return int(starts[-1]["workers"][-1]["pid"])

    def _steps_by_start(self) -> list[list[dict[str, Any]]]:
        """The steps noted before the workers started, after their first start, and so on."""
        steps: list[list[dict[str, Any]]] = [[]]
        for record in self._records():
            if record["kind"] == "metrics":
                steps[-1].append(record)
            elif record["event"] == "training":
                steps.append([])
        return steps

    def _records(self) -> list[dict[str, Any]]:
        if not self._journal.exists():
            return []
        return [json.loads(line) for line in self._journal.open() if line.endswith("}\n")]


def _recipe(folder: Path, *, name: str, workers: int | list[int]) -> dict[str, Any]:
    from pipeline.data.sources.convert import shard

    if not (folder / "shards").exists():
        shard(
            CLIPART,
            folder / "shards",
            labels="y",
            images="x",
            kind="tar",
            samples_per_shard=70,
            test_fraction=0.0,
            seed=0,
        )
    return {
        "name": name,
        "data": {
            "shards": str(folder / "shards"),
            "streams": 4,
            "shuffle_window": 64,
            "ingest": "ray" if workers == 2 else "inline",
        },
        "views": {"size": 32},
        "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
        "objective": {"kind": "simclr", "projector": [16]},
        "train": {
            "epochs": 2000,
            "global_batch": 24,
            "workers": workers,
            "log_every": 1,
            "checkpoint": {"every_steps": 5},
        },
        "tracking": {"experiment": "recovery", "storage": str(folder / "runs")},
    }


def _checkpoint(root: Path) -> tuple[float, float, int]:
    """Seconds that training waits, seconds of writing, and bytes."""
    import torch

    from pipeline.learning.learner import LearnerBatch, build_learner
    from pipeline.learning.optimization import Optimization
    from pipeline.recipe import Recipe
    from pipeline.runs.checkpoint import CheckpointStore

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
    optimization.step(
        LearnerBatch(sample_id=torch.arange(2), views=views)
    )  # from here on there are moments
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
