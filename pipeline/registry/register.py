"""Puts a packaged encoder into MLflow's model registry."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from pydantic import BaseModel, ConfigDict

from pipeline.registry.package import CONFIG_FILE, PackageConfig
from pipeline.registry.tracking import TrackedRun, fluent_mlflow

ALIAS = "candidate"

_SERVED_CODE = Path(__file__).with_name("served_encoder.py")


class RegisteredEncoder(BaseModel):
    """A version of a registered model."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    uri: str


def register_encoder(
    folder: Path, *, name: str, run: TrackedRun, tags: Mapping[str, str]
) -> RegisteredEncoder:
    """Register a package as the next version of a model, tag it and point `@candidate` to it.

    The same run with the same tags makes one version: called again, after a crash that came
    between, it returns the version that is there.

    Args:
        folder: the package.
        name: of the registered model.
        run: the MLflow run it comes from.
        tags: what a reader of the registry should see.
    """
    client = MlflowClient(tracking_uri=run.uri)
    number = _version_of(client, name, run.run_id, tags)
    if number is None:
        with fluent_mlflow(run.uri):
            model_uri = _log_package(folder, run)
            number = int(mlflow.register_model(model_uri, name, tags=dict(tags)).version)
    client.set_registered_model_alias(name, ALIAS, str(number))
    return RegisteredEncoder(name=name, version=number, uri=f"models:/{name}/{number}")


def _version_of(
    client: MlflowClient, name: str, run_id: str, tags: Mapping[str, str]
) -> int | None:
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    same = (int(found.version) for found in versions if tags.items() <= found.tags.items())
    return max(same, default=None)


def _log_package(folder: Path, run: TrackedRun) -> str:
    config = PackageConfig.model_validate_json((folder / CONFIG_FILE).read_text())
    size = config.preprocessing.size
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, size, size, 3))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, config.served_width))]),
    )
    with warnings.catch_warnings(), mlflow.start_run(run_id=run.run_id):
        warnings.simplefilter("ignore", UserWarning)  # the signature is ours, no example needed
        logged = mlflow.pyfunc.log_model(
            name="encoder",
            python_model=str(_SERVED_CODE),
            artifacts={"package": str(folder)},
            model_config={"features": config.served.kind},
            signature=signature,
            pip_requirements=[f"{p}=={version(p)}" for p in ("torch", "timm", "safetensors")],
        )
    return str(logged.model_uri)
