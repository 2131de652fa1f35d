"""A recipe and a space for tests that really sweep, and what such a sweep left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.registry.journal import records
from pipeline.sweeps.folder import SweepFolder

BROKEN_RATE = 1e30
"""With which a run passes every check, and is not finite after its first step."""


def recipe_for(shards: Path, folder: Path, **sweep: Any) -> dict[str, Any]:
    """A recipe of fifteen steps with a `sweep` section."""
    return {
        "name": "mine",
        "data": {
            "shards": f"{shards}/train",
            "streams": 4,
            "shuffle_window": 64,
            "ingest": "inline",
        },
        "views": {"size": 16},
        "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
        "objective": {"kind": "simclr", "projector": [16]},
        "train": {
            "steps": 15,
            "global_batch": 24,
            "log_every": 1,
            "device": "cpu",
            "max_failures": 0,
            "checkpoint": {"every_steps": 5},
        },
        "evaluate": {
            "train": f"{shards}/train",
            "test": f"{shards}/test",
            "probes": ["knn"],
            "snapshot_share": 1.0,
        },
        "tracking": {
            "experiment": "sweeps",
            "storage": str(folder / "runs"),
            "uri": f"sqlite:///{folder}/mlflow.db",
        },
        "sweep": {"winner_seeds": 1, "looks": 3, **sweep},
    }


def folder_in(path: Path) -> SweepFolder:
    """Of the sweep of such a recipe."""
    return SweepFolder(str(path / "runs" / "sweeps" / "mine"))


def ledger_events(folder: SweepFolder, event: str) -> list[dict[str, Any]]:
    """Records of one sort in a sweep's ledger."""
    lines = Path(folder.ledger).read_text().splitlines()
    return [record for line in lines if (record := json.loads(line))["event"] == event]


def starts_of(folder: SweepFolder, trial: int, generation: int = 0) -> list[int]:
    """Steps at which a trial's training was started."""
    journal = folder.run(trial, generation, 0).journal
    return [r["step"] for r in records(journal) if r.get("event") == "training"]


def children(path: Path) -> tuple[Run, dict[int, Run]]:
    """The sweep's run in MLflow, and those of its trials; none is there twice."""
    client = MlflowClient(tracking_uri=f"sqlite:///{path}/mlflow.db")
    experiment = client.get_experiment_by_name("sweeps")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = [run for run in runs if "sweep.trial" in run.data.tags]
    by_number = {int(run.data.tags["sweep.trial"]): run for run in trials}
    assert len(by_number) == len(trials), "a trial has two runs"
    parents = {run.data.tags["mlflow.parentRunId"] for run in trials}
    assert parents <= {parent.info.run_id}
    return parent, by_number
