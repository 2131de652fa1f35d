"""MLflow: the run, the forwarder that copies the journal into it, and where MLflow is."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.environment_variables import (
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
)
from mlflow.exceptions import MlflowException

from pipeline.data import storage
from pipeline.errors import Problem, UserError
from pipeline.registry.journal import JournalTail
from pipeline.registry.tracking_server import SQLITE, unreachable

log = logging.getLogger(__name__)


TrackingError = MlflowException
"""What MLflow raises, for rooms that do not import it."""

# Progress is ours to show: one line, not MLflow's migrations and bars.
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)
MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
# So is the patience with a server that is away: a quarter of a minute, not four minutes, for each
# call, and without a line for each retry.
MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(3)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

_METRICS_PER_CALL = 1000
_PARAMS_PER_CALL = 100
_PARAM_LENGTH = 6000
_POLL_SECONDS = 2.0


def open_experiment(uri: str, name: str) -> str:
    """Id of the experiment, made if there is none. The driver calls this before any worker runs.

    Artifacts of a local SQLite store go beside it; a server decides for itself.
    """
    artifacts = None
    if uri.startswith(SQLITE):
        folder = Path(uri.removeprefix(SQLITE)).resolve().parent
        folder.mkdir(parents=True, exist_ok=True)
        artifacts = (folder / "artifacts" / name).as_uri()
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage != "active":
            raise UserError(
                Problem(
                    "tracking.experiment", f"{name} was deleted in MLflow; restore or rename it"
                )
            )
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=artifacts))


@contextmanager
def fluent_mlflow(uri: str) -> Iterator[None]:
    """Point MLflow's global functions at a server while the body runs, and back afterwards."""
    before, variable = mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        if variable is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = variable


class TrackedRun:
    """One MLflow run; the driver has it, the workers never talk to MLflow."""

    def __init__(self, uri: str, run_id: str) -> None:
        self.uri = uri
        self.run_id = run_id
        self._client = MlflowClient(tracking_uri=uri)

    @classmethod
    def create(
        cls,
        uri: str,
        experiment_id: str,
        *,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> TrackedRun:
        """Start a run with its parameters."""
        client = MlflowClient(tracking_uri=uri)
        created = client.create_run(experiment_id, run_name=name, tags=dict(tags))
        run = cls(uri, created.info.run_id)
        flat = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in params.items()]
        for start in range(0, len(flat), _PARAMS_PER_CALL):
            run._client.log_batch(run.run_id, params=flat[start : start + _PARAMS_PER_CALL])
        return run

    def reopen(self) -> None:
        """Mark the run as going on again."""
        self._client.update_run(self.run_id, status=RunStatus.to_string(RunStatus.RUNNING))

    def finish(self, *, failed: bool) -> None:
        """Mark the run as finished or failed."""
        self._client.set_terminated(self.run_id, status="FAILED" if failed else "FINISHED")

    def stop_early(self) -> None:
        """Mark the run as ended before its time, by somebody's decision."""
        self._client.set_terminated(self.run_id, status="KILLED")

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def log_summary(self, values: Mapping[str, float], *, step: int) -> None:
        """Log the run's final figures at a step, once however often this is called."""
        known = self.steps()
        now = int(time.time() * 1000)
        new = {name: v for name, v in values.items() if max(known.get(name, {-1})) < step}
        self.send([Metric(name, value, now, step) for name, value in new.items()])

    def log_files(self, locations: Iterable[str]) -> None:
        """Store files, paths or URIs, with the run; each takes the place of one of its name."""
        for location in locations:
            with TemporaryDirectory() as folder:
                path = Path(folder) / storage.file_name(location)
                path.write_bytes(storage.read_file(location))
                self._client.log_artifact(self.run_id, str(path))

    def steps(self) -> dict[str, set[int]]:
        """For each metric the steps that MLflow has."""
        latest = self._client.get_run(self.run_id).data.metrics
        return {
            key: {point.step for point in self._client.get_metric_history(self.run_id, key)}
            for key in latest
        }

    def send(self, metrics: list[Metric]) -> None:
        """Log metrics in as few calls as MLflow allows.

        Raises:
            MlflowException: the server does not take them; one that is away is not waited for.
        """
        away = unreachable(self.uri)
        if away is not None:
            raise MlflowException(away.message)
        for start in range(0, len(metrics), _METRICS_PER_CALL):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + _METRICS_PER_CALL])


class Forwarder:
    """Copies a journal's metrics to an MLflow run, no (metric, step) twice."""

    def __init__(self, journal: str, run: TrackedRun, *, prefix: str = "") -> None:
        """Know what the run has.

        Args:
            journal: path or URI.
            run: that gets the metrics.
            prefix: of their names there.
        """
        self._tail = JournalTail(journal)
        self._run = run
        self._prefix = prefix
        steps = run.steps()
        self._sent = {key: max(noted) for key, noted in steps.items()}
        self._evaluated = {(key, step) for key, noted in steps.items() for step in noted}
        self._unsent: list[Metric] = []
        self._tags: dict[str, str] = {}

    def forward(self) -> None:
        """Send what is new in the journal: metrics, and a collapse as a tag if it asks for one.

        Raises:
            MlflowException: the server does not take it; the metrics wait for the next call.
        """
        for record in self._tail.read():
            if record["kind"] == "metrics":
                self._unsent += self._new_metrics(record)
            elif record["kind"] == "evaluation":
                self._unsent += self._new_figures(record)
            elif record.get("event") == "collapse" and record["action"] != "warn":
                self._tags["collapse"] = f"{record['message']}, at step {record['step']}"
        if self._tags:
            self._run.tag(self._tags)
            self._tags = {}
        while self._unsent:
            part = self._unsent[:_METRICS_PER_CALL]
            self._run.send(part)
            del self._unsent[: len(part)]

    def _new_metrics(self, record: dict[str, Any]) -> Iterator[Metric]:
        for name, value in record["metrics"].items():
            key = f"{self._prefix}{name}"
            if record["step"] > self._sent.get(key, -1):
                self._sent[key] = record["step"]
                yield Metric(key, value, int(record["time"] * 1000), record["step"])

    def _new_figures(self, record: dict[str, Any]) -> Iterator[Metric]:
        """Of a snapshot, which may be of an earlier step than the one evaluated before it."""
        for name, value in record["metrics"].items():
            key = f"{self._prefix}{name}"
            if (key, record["step"]) not in self._evaluated:
                self._evaluated.add((key, record["step"]))
                yield Metric(key, value, int(record["time"] * 1000), record["step"])


@contextmanager
def forwarding(forwarder: Forwarder) -> Iterator[None]:
    """Forward in the background while the body runs, and once more when it ends.

    A server that is away while the body runs costs nothing but a warning.

    Raises:
        MlflowException: the body has ended, and the server does not take all of its metrics.
    """
    stop = threading.Event()

    def work() -> None:
        away = ended = False
        while not ended:
            ended = stop.wait(_POLL_SECONDS)
            try:
                forwarder.forward()
                away = False
            except (MlflowException, OSError) as error:  # the server's, or a store's
                if not away:
                    log.warning("MLflow is away, metrics wait in the journal: %s", error)
                away = True

    thread = threading.Thread(target=work, name="mlflow-forwarder", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    forwarder.forward()
