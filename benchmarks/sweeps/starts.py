"""What it takes from a trial's beginning to its first step, beside Ray's own part of it.

    python -m benchmarks.sweeps.starts --json

Ray's own part is a trial of Ray Tune that starts Ray Train with a function that does nothing. Both
run one trial after another, so that the first one's start of a process for the trial is told apart.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import ray
import typer
from ray import tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.config import LoggingConfig

import pipeline
from benchmarks.shared.places import CLIPART
from benchmarks.shared.plain_training import write_images
from pipeline.registry.journal import records
from pipeline.sweeps.folder import SweepFolder

TRIALS = 4


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line.")] = False,
) -> None:
    """Measure, and print the median seconds of trials after the first, and the first one's."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    with TemporaryDirectory() as name:
        own = _ours(Path(name))
        rays = _rays(Path(name))
    found = {
        "ray": {"first": rays[0], "others": statistics.median(rays[1:])},
        "sweep": {"first": own[0], "others": statistics.median(own[1:])},
    }
    found["beyond"] = {
        which: found["sweep"][which] - found["ray"][which] for which in ("first", "others")
    }
    for who, seconds in found.items():
        print(f"{who}: first {seconds['first']:.1f} s, others {seconds['others']:.1f} s")
    if json_:
        print(json.dumps(found))


def _ours(folder: Path) -> list[float]:
    """Seconds from the ledger's note of a trial to the journal's line of its first step."""
    write_images(CLIPART, folder / "shards")
    pipeline.sweep(
        {
            "name": "starts",
            "data": {"shards": str(folder / "shards"), "streams": 4, "ingest": "inline"},
            "views": {"size": 32},
            "encoder": {"name": "resnet18"},
            "train": {"steps": 12, "global_batch": 32, "log_every": 1},
            "evaluate": {"train": str(folder / "shards"), "validation": 0.2, "snapshot_share": 1},
            "tracking": {"storage": str(folder / "runs"), "experiment": "starts"},
            "sweep": {
                "space": {"objective.temperature": {"log_uniform": [0.1, 1.0]}},
                "searcher": "random",
                "scheduler": None,
                "trials": TRIALS,
                "concurrent": 1,
                "looks": 2,
                "winner_seeds": 1,
            },
        }
    )
    sweep = SweepFolder(str(folder / "runs" / "starts" / "starts"))
    lines = [json.loads(line) for line in Path(sweep.ledger).read_text().splitlines()]
    began = {line["trial"]: line["time"] for line in lines if line["event"] == "started"}
    return [
        next(r["time"] for r in records(sweep.run(n, 0, 0).journal) if r["kind"] == "metrics")
        - began[n]
        for n in sorted(began)
    ]


class _Empty(tune.Trainable):
    """A trial whose training does nothing."""

    def setup(self, config: dict[str, Any]) -> None:
        """Know where to write."""
        self._folder = Path(config["folder"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become the next."""
        return True

    def step(self) -> dict[str, Any]:
        """Train nothing."""
        TorchTrainer(
            _note_time,
            train_loop_config={"folder": str(self._folder)},
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(
                name=f"empty-{time.time_ns()}",
                storage_path=str(self._folder / "train"),
                logging_config=LoggingConfig(log_level="CRITICAL"),
            ),
        ).fit()
        return {"done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing."""


class _Begins(tune.Callback):
    """Notes when a trial's turn comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def setup(self, **info: Any) -> None:
        """The first begins with the experiment."""
        _note(self._folder, "began")

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The next begins when one ends."""
        _note(self._folder, "began")


def _note(folder: Path, what: str) -> None:
    with (folder / what).open("a") as file:
        file.write(f"{time.time()}\n")


def _note_time(config: dict[str, Any]) -> None:
    _note(Path(config["folder"]), "entered")


def _rays(folder: Path) -> list[float]:
    """Seconds from a trial's beginning to its training function."""
    tune.Tuner(
        tune.with_resources(_Empty, {"CPU": 0, "memory": 500 << 20}),
        param_space={"folder": str(folder), "number": tune.grid_search(list(range(TRIALS)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(folder / "tune"), verbose=0, callbacks=[_Begins(folder)]
        ),
    ).fit()
    began, entered = (
        [float(line) for line in (folder / what).read_text().splitlines()]
        for what in ("began", "entered")
    )
    return [there - start for start, there in zip(began, entered, strict=False)]


if __name__ == "__main__":
    typer.run(main)
