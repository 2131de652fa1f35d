"""`python -m jobs pretrain` as a process that tests disturb."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from mlflow import MlflowClient

TRAIN = {
    "steps": 240,
    "global_batch": 120,  # so large that readers are at most 64 steps ahead
    "workers": 2,
    "batch_norm": "local",  # fewer collectives, which take long where ranks share a core
    "max_failures": -1,
    "checkpoint": {"every_steps": 7},
}
"""A `train` section."""
SHORT = TRAIN | {"steps": 120, "global_batch": 48}
"""With a seventh of the work."""


class Pretraining:
    """A recipe in a folder of its own, and the run that comes of it."""

    def __init__(
        self,
        folder: Path,
        *,
        data: Mapping[str, Any],
        train: Mapping[str, Any],
        tracking: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the recipe; the arguments add to what all tests have in common."""
        folder.mkdir(exist_ok=True)
        recipe = {
            "name": "run",
            "data": {"streams": 4, "shuffle_window": 64, **data},
            "views": {"size": 16},
            "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
            "objective": {"kind": "simclr", "projector": [16]},
            "train": {"device": "cpu", "log_every": 2, "trace": "trace.parquet", **train},
            "evaluate": None,
            "tracking": {
                "experiment": "faults",
                "storage": str(folder / "runs"),
                **(tracking or {}),
            },
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        self.folder = folder
        self.run = folder / "runs" / "faults" / "run"

    @contextmanager
    def started(self, *arguments: str, **environment: str) -> Iterator[Popen[bytes]]:
        """The command; when the body ends, so do it and all that it has started.

        Its output goes to files: what Ray has started outlives a driver that is killed, and would
        hold pipes open.
        """
        inherited = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("wb") as err:
            process = Popen(
                [sys.executable, "-m", "jobs", "pretrain", "recipe.yaml", "--json", *arguments],
                cwd=self.folder,
                env={**inherited, **environment},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def result(self, process: Popen[bytes], *, code: int = 0) -> dict[str, Any]:
        """The JSON line of the command, once it has ended with an exit code."""
        assert process.wait(600) == code, self.stderr
        (line,) = (self.folder / "stdout").read_text().splitlines()
        return dict(json.loads(line))

    @property
    def stderr(self) -> str:
        """What the last command has said so far."""
        return (self.folder / "stderr").read_text()

    def records(self) -> list[dict[str, Any]]:
        """Whole lines of the journal."""
        journal = self.run / "journal.jsonl"
        if not journal.exists():
            return []
        return [json.loads(line) for line in journal.open() if line.endswith("}\n")]

    def starts(self) -> list[dict[str, Any]]:
        """The journal's notes of workers that began to train."""
        return [record for record in self.records() if record.get("event") == "training"]

    def steps(self) -> list[int]:
        """The steps with metrics, in the journal's order."""
        return [record["step"] for record in self.records() if record["kind"] == "metrics"]

    def last_step(self) -> int:
        """The last step with metrics."""
        return max(self.steps(), default=0)

    def trace(self) -> pa.Table:
        """What was served, by step."""
        return pq.read_table(self.folder / "trace.parquet")

    def wait_for(self, step: int, process: Popen[bytes], *, starts: int = 1) -> None:
        """Wait until workers that were started for so manieth time have come to a step."""
        deadline = time.monotonic() + 300
        while len(self.starts()) < starts or self.last_step() < step:
            assert process.poll() is None, self.stderr
            assert time.monotonic() < deadline, f"did not reach step {step}: {self.stderr}"
            time.sleep(0.02)


def assert_mlflow_has_the_journal(run: Pretraining, result: Mapping[str, Any]) -> None:
    """One MLflow run, with each metric of the journal once and nothing else."""
    client = MlflowClient(tracking_uri=result["tracking_uri"])
    experiment = client.get_experiment_by_name("faults")
    (only,) = client.search_runs([experiment.experiment_id])
    assert only.info.run_id == result["run_id"]
    assert only.info.status == "FINISHED"
    logged = Counter(
        (point.key, point.step, point.value)
        for key in only.data.metrics
        for point in client.get_metric_history(result["run_id"], key)
    )
    written = Counter(
        (key, record["step"], value)
        for record in run.records()
        if record["kind"] in ("metrics", "evaluation")
        for key, value in record["metrics"].items()
    )
    assert logged == written
