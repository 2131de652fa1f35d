"""A sweep in MLflow: a parent run, and a child for each trial, however often it is taken up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric

from pipeline.registry.tracking import TrackedRun

_PARENT = "mlflow.parentRunId"
_TRIAL = "sweep.trial"


class SweepRuns:
    """The runs of a sweep. The driver has them; trials never talk to MLflow."""

    def __init__(self, parent: TrackedRun, experiment_id: str) -> None:
        """Know the parent.

        Args:
            parent: the sweep's run.
            experiment_id: in which children are made.
        """
        self.parent = parent
        self._experiment = experiment_id
        self._client = MlflowClient(tracking_uri=parent.uri)

    def child(self, number: int, *, name: str, params: Mapping[str, Any]) -> TrackedRun:
        """The run of a trial, running: the one there is, or else a new one.

        A driver that was killed between making it and noting it down left one that is found by its
        tags.
        """
        there = self._client.search_runs(
            [self._experiment],
            f"tags.`{_PARENT}` = '{self.parent.run_id}' and tags.`{_TRIAL}` = '{number}'",
            max_results=1,
        )
        if there:
            run = TrackedRun(self.parent.uri, there[0].info.run_id)
            run.reopen()
            return run
        return TrackedRun.create(
            self.parent.uri,
            self._experiment,
            name=name,
            params=params,
            tags={_PARENT: self.parent.run_id, _TRIAL: str(number)},
        )

    def run(self, run_id: str) -> TrackedRun:
        """A child by its id."""
        return TrackedRun(self.parent.uri, run_id)

    def adopt(self, run_id: str) -> None:
        """Make any run a child, such as one that trains the best settings again."""
        self.run(run_id).tag({_PARENT: self.parent.run_id})


def metric(name: str, value: float, *, seconds: float, step: int) -> Metric:
    """A figure for `TrackedRun.send`.

    Args:
        name: of the metric.
        value: of it.
        seconds: since the epoch, when it was found.
        step: of it.
    """
    return Metric(name, value, int(seconds * 1000), step)
