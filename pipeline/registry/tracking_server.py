"""Where MLflow is, and whether it answers; without importing it."""

from __future__ import annotations

import os
from pathlib import Path

import requests

from pipeline.data import storage
from pipeline.errors import Problem, UserError

DEFAULT_STORAGE = "runs"


SQLITE = "sqlite:///"
"""What the URI of a store in a local file begins with."""


_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


_KNOCK_SECONDS = 5.0


def tracking_uri(uri: str | None, runs: str) -> str:
    """Where MLflow is: the argument, else MLFLOW_TRACKING_URI, else SQLite in the folder of runs.

    Raises:
        UserError: neither is given, and the folder is in a store, which cannot hold SQLite.
    """
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if chosen is None and storage.is_remote(runs):
        raise UserError(
            Problem(
                "tracking.uri",
                f"{runs} cannot hold MLflow's SQLite file; give the URI of an MLflow server, or "
                "set MLFLOW_TRACKING_URI",
            )
        )
    chosen = chosen or f"{SQLITE}{Path(runs) / 'mlflow.db'}"
    if chosen.startswith(SQLITE):
        return f"{SQLITE}{Path(chosen.removeprefix(SQLITE)).resolve()}"
    return chosen


def unreachable(uri: str) -> Problem | None:
    """Knock at a tracking server, without MLflow's minutes of retries; None if it answers."""
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme not in _SCHEMES:
        return Problem("tracking.uri", f"{uri} is none of {', '.join(_SCHEMES)}")
    if not scheme.startswith("http"):
        return None
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=_KNOCK_SECONDS).raise_for_status()
    except requests.RequestException as error:
        return Problem("tracking.uri", f"{uri} does not answer: {error}")
    return None
