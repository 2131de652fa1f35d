"""An MLflow server that goes away, in the middle of a run and at its end, and comes back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.faults.pretraining import Pretraining, assert_mlflow_has_the_journal
from tests.mlflow_server import MLflowServer

STEPS = 400


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MLflowServer]:
    """A running server."""
    (tmp_path / "server").mkdir()
    server = MLflowServer(tmp_path / "server")
    server.start()
    yield server
    server.kill()


@pytest.mark.slow
def test_training_goes_on_and_what_the_server_missed_arrives_later(
    server: MLflowServer, clipart_shards: Path, tmp_path: Path
) -> None:
    run = Pretraining(
        tmp_path / "run",
        data={"shards": str(clipart_shards / "train"), "ingest": "inline"},
        train={"steps": STEPS, "global_batch": 24, "checkpoint": {"every_steps": 100}},
        tracking={"uri": server.uri, "register": "encoder"},
    )
    with run.started() as process:
        run.wait_for(50, process)
        server.kill()
        missed = run.last_step() + 100
        run.wait_for(missed, process)
        # Held, or the training might end before the server is back.
        trainer = run.starts()[-1]["workers"][0]["pid"]
        os.kill(trainer, signal.SIGSTOP)
        wait_until(lambda: "MLflow is away" in run.stderr)
        server.start()
        wait_until(lambda: last_step_of_mlflow(server.uri) >= missed)
        assert run.last_step() < STEPS
        assert run.stderr.count("MLflow is away") == 1
        server.kill()
        os.kill(trainer, signal.SIGCONT)
        (problem,) = run.result(process, code=1)["errors"]
    assert f"{server.uri} does not answer" in problem["message"]
    assert "the same command" in problem["message"]
    assert "Traceback" not in run.stderr
    assert "Retrying" not in run.stderr
    assert run.stderr.count("MLflow is away") == 2
    assert run.last_step() == STEPS
    server.start()
    with run.started() as process:
        result = run.result(process)
    assert [start["step"] for start in run.starts()] == [0, STEPS]
    assert run.steps() == list(range(2, STEPS + 1, 2))
    assert result["model"]["version"] == 1
    assert_mlflow_has_the_journal(run, result)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def last_step_of_mlflow(uri: str) -> int:
    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("faults").experiment_id])
    history = client.get_metric_history(run.info.run_id, "loss")
    return max((metric.step for metric in history), default=0)  # none may have arrived yet
