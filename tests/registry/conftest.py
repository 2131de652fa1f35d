"""One MLflow store for all tests of this folder: making its tables takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.registry.tracking import open_experiment


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe's storage folder with MLflow in `mlflow.db`."""
    folder = tmp_path_factory.mktemp("mlflow") / "new folder"
    open_experiment(f"sqlite:///{folder}/mlflow.db", "first")
    return folder
