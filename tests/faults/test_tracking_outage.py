"""An MLflow server that goes away, in the middle of a run and at its end, and comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.registry.tracking_server import unreachable
from tests.faults.pretraining import Pretraining, assert_mlflow_has_the_journal

STEPS = 400


class TrackingServer:
    """`mlflow server` over one SQLite file, at one port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                    *("--host", "127.0.0.1", "--port", str(self._port)),
                    *("--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"),
                    *("--artifacts-destination", str(self._folder / "artifacts")),
                ],
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while unreachable(self.uri):
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill the server and its worker processes."""
        with suppress(ProcessLookupError):  # killed before
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TrackingServer]:
    """A running server."""
    (tmp_path / "server").mkdir()
    server = TrackingServer(tmp_path / "server")
    server.start()
    yield server
    server.kill()


@pytest.mark.slow
def test_training_goes_on_and_what_the_server_missed_arrives_later(
    server: TrackingServer, clipart_shards: Path, tmp_path: Path
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
