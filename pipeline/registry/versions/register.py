"""Puts a packaged encoder into MLflow's model registry."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import numpy.typing as npt
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from pipeline.errors import Problem, UserError
from pipeline.registry.packages.config import PackageConfig
from pipeline.registry.packages.encoder import PackagedEncoder, read_config
from pipeline.registry.packages.parity import Parity
from pipeline.registry.tracking import TrackedRun, fluent_mlflow
from pipeline.registry.versions.lookup import named, tags_of, versions

ALIAS = "candidate"
PARITY_TAG = "parity"
SHA256_TAG = "encoder_sha256"
"""Every version of ours has it."""

_SERVED_CODE = Path(__file__).with_name("served_encoder.py")
_PROMPT_TAG = "mlflow.prompt.is_prompt"
_REQUIREMENTS = ("torch", "timm", "safetensors", "pillow")


class RegisteredEncoder(BaseModel):
    """A version of a registered model."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    uri: str


def register_encoder(
    folder: Path, *, name: str, run: TrackedRun, tags: Mapping[str, str], parity: Parity
) -> RegisteredEncoder:
    """Register a package as the next version of a model, tag it and point `@candidate` to it.

    What was stored is loaded again and held against the trained encoder first. The same run with
    the same tags makes one version: called again, after a crash that came between, it returns the
    version that is there.

    Args:
        folder: the package.
        name: of the registered model.
        run: the MLflow run it comes from.
        tags: what a reader of the registry should see.
        parity: what the trained encoder gives.

    Raises:
        ParityError: the stored encoder gives something else; no version is made of it.
    """
    client = MlflowClient(tracking_uri=run.uri)
    number = _version_of(client, name, run.run_id, tags)
    if number is None:
        parity.check(_features_of(folder, parity), of="the package")
        with fluent_mlflow(run.uri):
            model_uri = _log_package(folder, run)
            stored = mlflow.pyfunc.load_model(model_uri).predict(parity.images)
            difference = parity.check(stored, of=f"the model stored as {model_uri}")
            told = {**tags, PARITY_TAG: f"{difference:.1e}"}
            with _quiet():
                number = int(mlflow.register_model(model_uri, name, tags=told).version)
    client.set_registered_model_alias(name, ALIAS, str(number))
    return RegisteredEncoder(name=name, version=number, uri=f"models:/{name}/{number}")


def refuse_taken(uri: str, name: str) -> None:
    """Refuse to register under the name of a model that is no encoder of ours.

    Args:
        uri: of MLflow.
        name: of the model that is to get a version.

    Raises:
        UserError: the newest version of that name is something else, or it names a prompt.
    """
    client = MlflowClient(tracking_uri=uri)
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return
        raise
    newest = versions(name, client, at_most=1)
    ours = all(SHA256_TAG in tags_of(version) for version in newest)
    if not ours or _PROMPT_TAG in (model.tags or {}):
        raise UserError(
            Problem("tracking.register", f"{name} is taken by something that is no encoder of ours")
        )


def _version_of(
    client: MlflowClient, name: str, run_id: str, tags: Mapping[str, str]
) -> int | None:
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    versions = client.search_model_versions(f"{named(name)} and run_id = '{run_id}'")
    same = (int(found.version) for found in versions if tags.items() <= found.tags.items())
    return max(same, default=None)


def _features_of(folder: Path, parity: Parity) -> npt.NDArray[np.float32]:
    """What timm alone makes of a package, as the package's card says."""
    encoder = PackagedEncoder.load(folder, features=read_config(folder).served)
    with torch.inference_mode():
        found: Tensor = encoder(torch.from_numpy(parity.images).permute(0, 3, 1, 2))
    return found.numpy()


def _log_package(folder: Path, run: TrackedRun) -> str:
    config = read_config(folder)
    with _quiet(), mlflow.start_run(run_id=run.run_id):
        logged = mlflow.pyfunc.log_model(
            name="encoder",
            python_model=str(_SERVED_CODE),
            artifacts={"package": str(folder)},
            model_config={"features": config.served.kind},
            input_example=[_example(config)],
            pip_requirements=[f"{package}=={version(package)}" for package in _REQUIREMENTS],
        )
    return str(logged.model_uri)


def _example(config: PackageConfig) -> bytes:
    """A PNG of the encoder's size."""
    size = config.preprocessing.size
    ramp = np.linspace(0, 255, size).astype(np.uint8)
    across, down = np.meshgrid(ramp, ramp)
    encoded = io.BytesIO()
    Image.fromarray(np.stack([across, down, across[::-1]], axis=2)).save(encoded, "PNG")
    return encoded.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """What MLflow says of hints, signatures and what it has made is for those who write models."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.setLevel(level)
