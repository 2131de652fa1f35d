"""Two Ray nodes on this machine, one of which goes away in the middle of an epoch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.cluster_utils import Cluster

EPOCHS = 60


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cluster, Any]]:
    """A cluster of two nodes with a CPU each, and the one that is not the head."""
    # How long Ray waits for workers on a node that is gone; a minute unless told otherwise.
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "15")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        yield cluster, cluster.add_node(num_cpus=1)
    finally:
        cluster.shutdown()


def test_the_run_goes_on_with_the_workers_that_are_left(
    two_nodes: tuple[Cluster, Any], clipart_shards: Path, tmp_path: Path
) -> None:
    cluster, node = two_nodes
    recipe = {
        "name": "survivor",
        "data": {
            "shards": str(clipart_shards / "train"),
            "streams": 4,
            "shuffle_window": 64,
            "ingest": "inline",
        },
        "views": {"size": 32},
        "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
        "objective": {"kind": "simclr", "projector": [16]},
        "train": {
            "epochs": EPOCHS,
            "global_batch": 24,
            "workers": [1, 2],
            "device": "cpu",
            "log_every": 2,
            "checkpoint": {"every_steps": 7},
        },
        "tracking": {"experiment": "loss", "storage": str(tmp_path / "runs")},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", "pretrain", "recipe.yaml", "--json"],
        cwd=tmp_path,
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    journal = tmp_path / "runs" / "loss" / "survivor" / "journal.jsonl"
    try:
        wait_for_step(journal, 30, process)
        cluster.remove_node(node, allow_graceful=False)
        out, err = process.communicate(timeout=500)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err
    result = json.loads(out)
    starts = [record for record in records_of(journal) if record.get("event") == "training"]
    assert [len(start["workers"]) for start in starts] == [2, 1]
    assert starts[1]["step"] >= 28  # the checkpoint before step 30
    assert result["steps"] == EPOCHS * 10
    assert result["samples"]["served"] == EPOCHS * 240
    steps = [record["step"] for record in records_of(journal) if record["kind"] == "metrics"]
    assert steps == list(range(2, EPOCHS * 10 + 1, 2))


def records_of(journal: Path) -> list[dict[str, Any]]:
    if not journal.exists():
        return []
    return [json.loads(line) for line in journal.open() if line.endswith("}\n")]


def wait_for_step(journal: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not any(r["kind"] == "metrics" and r["step"] >= step for r in records_of(journal)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"did not reach step {step}"
        time.sleep(0.02)
