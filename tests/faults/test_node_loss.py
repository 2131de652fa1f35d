"""Two Ray nodes on this machine, one of which goes away in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from tests.faults.pretraining import Pretraining

EPOCHS = 60


@pytest.fixture(params=["inline", "ray"])
def ingest(request: pytest.FixtureRequest) -> str:
    """How data is read."""
    return str(request.param)


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch, ingest: str) -> Iterator[tuple[Cluster, Any]]:
    """A cluster of two nodes with room for a worker each, and the one that is not the head."""
    # How long Ray waits for workers on a node that is gone; a minute unless told otherwise.
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "15")
    cpus = 2 if ingest == "ray" else 1  # a worker's, and its reader's
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus})
    try:
        yield cluster, cluster.add_node(num_cpus=cpus)
    finally:
        cluster.shutdown()


# In the short form the test of a preemption loses a node too.
@pytest.mark.slow
def test_the_run_goes_on_with_the_workers_that_are_left(
    two_nodes: tuple[Cluster, Any], ingest: str, clipart_shards: Path, tmp_path: Path
) -> None:
    cluster, node = two_nodes
    run = Pretraining(
        tmp_path,
        data={"shards": str(clipart_shards / "train"), "ingest": ingest},
        train={
            "epochs": EPOCHS,
            "global_batch": 24,
            "workers": [1, 2],
            "checkpoint": {"every_steps": 7},
        },
    )
    with run.started(RAY_ADDRESS=cluster.address) as process:
        run.wait_for(30, process)
        cluster.remove_node(node, allow_graceful=False)
        result = run.result(process)
    assert [len(start["workers"]) for start in run.starts()] == [2, 1]
    assert run.starts()[1]["step"] >= 28  # the checkpoint before step 30
    assert result["steps"] == EPOCHS * 10
    assert result["samples"]["served"] == EPOCHS * 240
    assert run.steps() == list(range(2, EPOCHS * 10 + 1, 2))
