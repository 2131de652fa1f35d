"""Clusters to which nodes come, from which they go, and that runs share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import yaml
from ray.cluster_utils import Cluster

from tests.faults.pretraining import Pretraining


@pytest.fixture
def bare_head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without CPUs; tests add nodes."""
    # How long Ray Train waits for workers before it asks anew; a minute unless told otherwise.
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "10")
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        yield cluster
    finally:
        cluster.shutdown()


def pretraining(folder: Path, shards: Path, *, ingest: str = "inline", **train: Any) -> Pretraining:
    """One that needs a CPU, or two with readers."""
    return Pretraining(
        folder,
        data={"shards": str(shards / "train"), "ingest": ingest},
        train={"steps": 40, "global_batch": 24, "workers": 1, **train},
    )


def wait_until(seen: Callable[[], bool], process: Popen[bytes], run: Pretraining) -> None:
    """Wait for what a running command does."""
    deadline = time.monotonic() + 200
    while not seen():
        assert process.poll() is None, run.stderr
        assert time.monotonic() < deadline, run.stderr
        time.sleep(0.2)


def groups(cluster: Cluster) -> set[str]:
    """States of all placement groups that there have been."""
    return {group["state"] for group in cluster.global_state.placement_group_table().values()}


def test_a_run_is_refused_or_waits_for_a_node_that_comes_later(
    bare_head: Cluster, clipart_shards: Path, tmp_path: Path
) -> None:
    run = pretraining(tmp_path, clipart_shards, ingest="ray", device="auto")
    with run.started("train.wait_minutes=0", RAY_ADDRESS=bare_head.address) as process:
        assert process.wait(200) == 2, run.stderr
    assert "train.workers: 1 workers and their readers need 2 CPUs, the cluster has 0" in run.stderr
    with run.started(RAY_ADDRESS=bare_head.address) as process:
        wait_until(lambda: "waiting for resources" in run.stderr, process, run)
        bare_head.add_node(num_cpus=2)
        assert run.result(process)["steps"] == 40
    told = run.stderr.splitlines()
    assert "device: cpu; the cluster has no GPU now" in told[0]
    assert "30 minutes at most: 1 worker with 2 CPUs; the cluster has 0 CPUs (0 free)" in told[1]


@pytest.mark.slow
def test_an_interrupted_wait_leaves_no_demand(
    bare_head: Cluster, clipart_shards: Path, tmp_path: Path
) -> None:
    run = pretraining(tmp_path, clipart_shards)
    with run.started(RAY_ADDRESS=bare_head.address) as process:
        wait_until(lambda: "waiting for resources" in run.stderr, process, run)
        assert groups(bare_head) == {"PENDING"}
        process.send_signal(signal.SIGINT)
        assert process.wait(200) != 0
    assert groups(bare_head) == {"REMOVED"}


@pytest.mark.slow
def test_two_runs_where_there_is_room_for_one_come_one_after_the_other(
    bare_head: Cluster, clipart_shards: Path, tmp_path: Path
) -> None:
    bare_head.add_node(num_cpus=1)
    (tmp_path / "second").mkdir()
    first = pretraining(tmp_path / "first", clipart_shards, steps=600)
    second = pretraining(tmp_path / "second", clipart_shards)
    with first.started(RAY_ADDRESS=bare_head.address) as process:
        first.wait_for(2, process)
        with second.started(RAY_ADDRESS=bare_head.address) as waiting:
            wait_until(lambda: "1 CPUs (0 free)" in second.stderr, waiting, second)
            assert first.result(process)["steps"] == 600
            assert second.result(waiting)["steps"] == 40
    assert second.starts()[0]["time"] > first.records()[-1]["time"]


@pytest.mark.slow
def test_a_run_that_loses_its_node_says_so_and_gives_up_in_time(
    bare_head: Cluster, clipart_shards: Path, tmp_path: Path
) -> None:
    node = bare_head.add_node(num_cpus=1)
    run = pretraining(
        tmp_path, clipart_shards, steps=400, checkpoint={"every_steps": 7}, wait_minutes=1.5
    )
    with run.started(RAY_ADDRESS=bare_head.address) as process:
        run.wait_for(20, process)
        bare_head.remove_node(node, allow_graceful=False)
        assert process.wait(400) == 1
    assert "waiting for resources since" in run.stderr
    assert "1 worker with 1 CPU were asked for and not to be had for 1.5 minutes" in run.stderr
    with run.started(RAY_ADDRESS=bare_head.address) as process:
        wait_until(lambda: "waiting for resources" in run.stderr, process, run)
        bare_head.add_node(num_cpus=1)
        assert run.result(process)["steps"] == 400
    assert run.starts()[1]["step"] >= 14
    assert run.steps() == list(range(2, 401, 2))


@pytest.mark.slow
def test_a_range_of_workers_that_read_by_ray_grows_with_its_cluster(
    bare_head: Cluster, clipart_shards: Path, tmp_path: Path
) -> None:
    bare_head.add_node(num_cpus=2)
    run = pretraining(
        tmp_path,
        clipart_shards,
        ingest="ray",
        steps=3000,
        workers=[1, 2],
        checkpoint={"every_steps": 50},
    )
    with run.started(RAY_ADDRESS=bare_head.address) as process:
        run.wait_for(20, process)
        bare_head.add_node(num_cpus=2)
        run.wait_for(20, process, starts=2)
        result = run.result(process)
    assert [len(start["workers"]) for start in run.starts()] == [1, 2]
    assert result["samples"]["served"] == 3000 * 24
    assert run.steps() == list(range(2, 3001, 2))


AUTH = {"RAY_AUTH_MODE": "token"}  # which a head has where there is a token, and drivers have not
FAKE = {
    "cluster_name": "fake",
    "provider": {"type": "fake_multinode"},
    "max_workers": 2,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "gpu": {
            "resources": {"CPU": 4, "GPU": 2, "object_store_memory": 200_000_000},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    },
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 5,
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
    **{
        name: []
        for name in (
            "cluster_synced_files",
            "initialization_commands",
            "setup_commands",
            "head_setup_commands",
            "worker_setup_commands",
            "head_start_ray_commands",
            "worker_start_ray_commands",
            "rsync_exclude",
            "rsync_filter",
        )
    },
}
"""For Ray's autoscaler, with nodes that are processes of this machine."""


@pytest.fixture
def autoscaling(tmp_path: Path) -> Iterator[str]:
    """The address of a head that starts nodes when they are asked for."""
    config = tmp_path / "ray_bootstrap_config.yaml"
    config.write_text(yaml.safe_dump(FAKE))
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=0"]
    # The port is the one to which the nodes of this provider come.
    head = Popen(
        [*ray, "--port=6379", "--include-dashboard=false", f"--autoscaling-config={config}"],
        env={**os.environ, **AUTH, "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield "127.0.0.1:6379"
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(60)


# The nodes have GPUs by name only, so that nothing is trained.
@pytest.mark.slow
def test_auto_waits_for_gpus_that_an_autoscaler_may_start(
    autoscaling: str, clipart_shards: Path, tmp_path: Path
) -> None:
    run = pretraining(
        tmp_path / "run", clipart_shards, ingest="ray", device="auto", workers=2, max_failures=0
    )
    environment = {"RAY_ADDRESS": autoscaling, "HOME": str(tmp_path), **AUTH}
    with run.started(**environment) as process:
        wait_until(lambda: "device:" in run.stderr, process, run)
        assert "cuda, a GPU for each of 2 workers; the cluster has 0 and may have 4" in run.stderr
        wait_until((run.run / "run.json").exists, process, run)
    with run.started("train.device=cuda", "data.ingest_cpus=4", **environment) as process:
        assert process.wait(200) == 2
    assert "10 CPUs, the cluster can have 8" in run.stderr
