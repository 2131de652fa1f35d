"""From what a user types to a folder with a packaged encoder."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.errors import Problem, UserError
from pipeline.registry import tracking_server
from pipeline.registry.package import (
    AUTOENCODER_FILE,
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    PackagedEncoder,
    features_named,
)
from pipeline.whole_folder import whole_folder


@contextmanager
def encoder_folder(uri_or_path: str, *, tracking_uri: str | None = None) -> Iterator[Path]:
    """The folder of a packaged encoder, fetched for the length of the body if it is registered.

    Args:
        uri_or_path: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a local folder.
        tracking_uri: MLflow; see `tracking_server.tracking_uri`.

    Raises:
        UserError: nothing is registered or stored there.
    """
    if not uri_or_path.startswith("models:/"):
        folder = Path(uri_or_path)
        missing = [name for name in (WEIGHTS_FILE, CONFIG_FILE) if not (folder / name).is_file()]
        if missing:
            raise UserError(Problem(uri_or_path, f"holds no encoder: {', '.join(missing)} missing"))
        yield folder
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield _download(uri_or_path, tracking_uri, Path(scratch))


def load_encoder(
    uri_or_path: str | Path,
    *,
    features: str | Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
) -> PackagedEncoder:
    """Load a registered or local encoder with its preprocessing.

    Args:
        uri_or_path: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a folder that holds
            `encoder.safetensors` and `config.json` (what `python -m jobs fetch` writes, and what a
            finished run has in its folder as `encoder/`).
        features: what it is to give, as a recipe's `encoder.features` says it: `"mean"`, or
            `{"kind": "decoder_hidden", "layer": 0, "pool": "last"}`; None: what the recipe said.
            All but `"pooled"` need an encoder that was trained with a decoder. `"sample"` draws the
            same code for the same image whenever it is asked.
        tracking_uri: the MLflow server; by default `MLFLOW_TRACKING_URI`, else `./runs/mlflow.db`.

    Returns:
        A module in eval mode. Called with images, uint8 or float in [0, 1], (B, 3, H, W), it
        returns features (B, D) float32, of the width in `config.feature_width`.

    Raises:
        UserError: nothing is registered or stored there, or it cannot give such features.
    """
    wanted = None if features is None else features_named(features)
    with encoder_folder(str(uri_or_path), tracking_uri=tracking_uri) as folder:
        return PackagedEncoder.load(folder, features=wanted)


def fetch(
    uri_or_path: str, destination: str | Path, *, tracking_uri: str | None = None
) -> list[Path]:
    """Copy a packaged encoder's files into a folder: all of them, or none.

    Args:
        uri_or_path: see `encoder_folder`.
        destination: a folder that does not exist or is empty.
        tracking_uri: MLflow, for a registered encoder.

    Returns:
        The files written.

    Raises:
        UserError: there is no such encoder, or the destination holds something.
    """
    destination = Path(destination)
    with (
        whole_folder(destination) as target,
        encoder_folder(uri_or_path, tracking_uri=tracking_uri) as folder,
    ):
        for name in (WEIGHTS_FILE, AUTOENCODER_FILE, CONFIG_FILE, CARD_FILE):
            if (folder / name).exists():
                shutil.copyfile(folder / name, target / name)
    return sorted(destination.iterdir())


def _download(uri: str, tracking_uri: str | None, scratch: Path) -> Path:
    server = tracking_server.tracking_uri(tracking_uri, tracking_server.DEFAULT_STORAGE)
    _refuse_absent(server, uri)
    try:
        location = _artifacts_of(uri, MlflowClient(tracking_uri=server))
        mlflow.artifacts.download_artifacts(
            artifact_uri=location, dst_path=str(scratch), tracking_uri=server
        )
    except (MlflowException, OSError) as error:
        raise UserError(Problem(uri, f"cannot be fetched from {server}: {error}")) from error
    found = next(scratch.rglob(WEIGHTS_FILE), None)
    if found is None:
        raise UserError(
            Problem(uri, f"is a registered model, but not an encoder of ours: {server}")
        )
    return found.parent


def _artifacts_of(uri: str, client: MlflowClient) -> str:
    """Where a version's files are; MLflow's own resolver of models:/ looks at global state."""
    match = re.fullmatch(r"models:/([^@/]+)(?:@([^/]+)|/(\d+))", uri)
    if match is None:
        raise UserError(Problem(uri, "is neither models:/NAME@ALIAS nor models:/NAME/VERSION"))
    name, alias, version = match.groups()
    if alias is not None:
        version = client.get_model_version_by_alias(name, alias).version
    return str(client.get_model_version_download_uri(name, str(version)))


def _refuse_absent(server: str, uri: str) -> None:
    if server.startswith("sqlite:///") and not Path(server.removeprefix("sqlite:///")).exists():
        raise UserError(
            Problem(
                uri,
                f"there is no MLflow store at {server}; run this where the run was made, set "
                "MLFLOW_TRACKING_URI, or give --tracking-uri",
            )
        )
    problem = tracking_server.unreachable(server)
    if problem:
        raise UserError(problem)
