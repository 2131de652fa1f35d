"""A node or a rank is taken away in the middle of an epoch, and that is announced before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.cluster_utils import Cluster

from pipeline.recipe import Recipe
from tests.faults import one_rank
from tests.ranks import processes

JOURNAL = "runs/loss/warned/journal.jsonl"
STEPS = 600


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A node with a CPU; tests add another."""
    # How long Ray waits for workers on a node that is gone; a minute unless told otherwise.
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "15")
    # How often it looks for announcements; every five seconds unless told otherwise.
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.5")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        yield cluster
    finally:
        cluster.shutdown()


# With two CPUs on the node that is lost there are three workers, of which two train, because three
# do not divide eight streams. The other node is lost long before its time.
@pytest.mark.slow
@pytest.mark.parametrize(("cpus", "announced", "lost"), [(2, 8, 8), (1, 3600, 0)])
def test_a_run_goes_on_from_the_step_at_which_it_heard_of_the_loss(
    cluster: Cluster, cpus: int, announced: int, lost: int, clipart_shards: Path, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=cpus)
    with training(cluster, clipart_shards, tmp_path, workers=1 + cpus) as process:
        wait_for(tmp_path, process, lambda record: record["kind"] == "metrics")
        drain(cluster, node, seconds=announced)
        due = time.monotonic() + lost
        noted = wait_for(tmp_path, process, lambda record: record.get("event") == "preemption")
        time.sleep(max(0.0, due - time.monotonic()))
        cluster.remove_node(node, allow_graceful=False)
        out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert json.loads(out)["samples"]["served"] == STEPS * 24
    records = records_of(tmp_path / JOURNAL)
    starts = [record for record in records if record.get("event") == "training"]
    assert [start["step"] for start in starts] == [0, noted["step"]]
    assert [len(start["workers"]) for start in starts] == [2, 1]
    steps = [record["step"] for record in records if record["kind"] == "metrics"]
    assert steps == list(range(2, STEPS + 1, 2))


def test_all_ranks_take_part_in_one_checkpoint_when_rank_0_hears_of_it(
    clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(clipart_shards, tmp_path, 1)
    short = recipe | {"train": recipe["train"] | {"steps": 12}}
    (tmp_path / "recipe.json").write_text(json.dumps(Recipe.model_validate(short).resolved()))
    run = tmp_path / "run"
    run.mkdir()
    (run / "notice-0").touch()  # rank 1 does not hear of it, and rank 2 does not train
    log, files = tmp_path / "log", (tmp_path / "rendezvous", tmp_path / "recipe.json", run)
    with processes.started(one_rank.main, 3, *files, log=log) as ranks:
        processes.finish(ranks, log=log)
    events = [record for record in records_of(run / "journal.jsonl") if record["kind"] == "event"]
    assert [(event["event"], event["step"]) for event in events] == [
        ("training", 0),
        ("preemption", 2),
    ]
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert kept == ["step-0000000002", "step-0000000012"]


def recipe_for(shards: Path, folder: Path, workers: int) -> dict[str, Any]:
    """Trains on one worker or more, and writes no checkpoint before it ends."""
    return {
        "name": "warned",
        "data": {
            "shards": str(shards / "train"),
            "streams": 8,
            "shuffle_window": 64,
            "ingest": "inline",
        },
        "views": {"size": 32},
        "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
        "objective": {"kind": "simclr", "projector": [16]},
        "train": {
            "steps": STEPS,
            "global_batch": 24,
            "workers": [1, workers],
            "device": "cpu",
            "log_every": 2,
            "max_failures": 0,
            "checkpoint": {"every_steps": 1_000_000},
        },
        "evaluate": None,
        "tracking": {"experiment": "loss", "storage": str(folder / "runs")},
    }


@contextmanager
def training(
    cluster: Cluster, shards: Path, folder: Path, *, workers: int
) -> Iterator[subprocess.Popen[str]]:
    """The run's driver; nothing is left of it when the body ends."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe_for(shards, folder, workers)))
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", "pretrain", "recipe.yaml", "--json"],
        cwd=folder,
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def drain(cluster: Cluster, node: Any, *, seconds: int) -> None:
    """Announce, as a cloud's agent would, that a node goes away in so many seconds."""
    subprocess.run(
        [
            *("ray", "drain-node", "--address", cluster.address, "--node-id", node.node_id),
            *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a test"),
            *("--deadline-remaining-seconds", str(seconds)),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )


def records_of(journal: Path) -> list[dict[str, Any]]:
    if not journal.exists():
        return []
    return [json.loads(line) for line in journal.open() if line.endswith("}\n")]


def wait_for(
    folder: Path, process: subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """The first record of the run's journal that is wanted."""
    deadline = time.monotonic() + 300
    while not (found := [record for record in records_of(folder / JOURNAL) if wanted(record)]):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the journal has no such record"
        time.sleep(0.02)
    return found[0]
