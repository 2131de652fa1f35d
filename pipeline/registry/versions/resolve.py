"""From what a user types to a folder with a packaged encoder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mlflow.exceptions import MlflowException

from pipeline.errors import InterruptedRunError, Problem, UserError
from pipeline.registry.packages.config import CONFIG_FILE, WEIGHTS_FILE
from pipeline.registry.packages.encoder import PackagedEncoder, features_named
from pipeline.registry.packages.files import CARD_FILE, checksums, damaged_files, names_of
from pipeline.registry.packages.onnx_export import ONNX_FILE, OnnxExport, export_onnx
from pipeline.registry.versions.download import download
from pipeline.registry.versions.lookup import registry_client, tags_of, version_of
from pipeline.whole_folder import whole_folder

REGISTERED = "models:/"
"""What the URI of a registered model begins with."""


class Fetched(NamedTuple):
    """What `fetch` wrote."""

    files: list[Path]
    onnx: OnnxExport | None
    """How the exported encoder compares, if it was asked for."""


@contextmanager
def encoder_folder(
    uri_or_path: str,
    *,
    tracking_uri: str | None = None,
    keep: Path | None = None,
    check: bool = True,
) -> Iterator[Path]:
    """The folder of a packaged encoder, fetched for the length of the body if it is registered.

    Args:
        uri_or_path: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a local folder.
        tracking_uri: MLflow; see `tracking_server.tracking_uri`.
        keep: a place for what has come of a download that breaks, from where another call goes on;
            the folders of several versions may share it. None: nothing is kept.
        check: hold its files against its checksums first.

    Raises:
        UserError: nothing is registered or stored there, or a file is damaged.
        InterruptedRunError: the download broke.
    """
    if not uri_or_path.startswith(REGISTERED):
        folder = _with_encoder(Path(uri_or_path), uri_or_path)
        if check:
            _refuse_damaged(folder, uri_or_path, but_for=CARD_FILE)
        yield folder
        return
    client, server = registry_client(tracking_uri, what=uri_or_path)
    try:
        version = version_of(uri_or_path, client)
        location = str(client.get_model_version_download_uri(version.name, version.version))
        with _scratch(keep, location) as scratch:
            _fill(scratch, location, server, uri_or_path, kept=keep is not None)
            found = next(scratch.rglob(WEIGHTS_FILE), None)
            if found is None:
                raise UserError(
                    Problem(uri_or_path, f"is registered, but not an encoder of ours: {server}")
                )
            folder = _with_encoder(found.parent, uri_or_path)
            if check:
                sha256 = tags_of(version).get("encoder_sha256")
                _refuse_damaged(folder, uri_or_path, sha256=sha256)
            yield folder
    except MlflowException as error:
        reason = f"cannot be fetched from {server}: {error}"
        raise UserError(Problem(uri_or_path, reason)) from error


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
        UserError: nothing is registered or stored there, a file is damaged, or the encoder cannot
            give such features.
        InterruptedRunError: the download broke.
    """
    wanted = None if features is None else features_named(features)
    with encoder_folder(str(uri_or_path), tracking_uri=tracking_uri) as folder:
        return PackagedEncoder.load(folder, features=wanted)


def fetch(
    uri_or_path: str,
    destination: str | Path,
    *,
    onnx: bool = False,
    tracking_uri: str | None = None,
) -> Fetched:
    """Copy a packaged encoder's files into a folder: all of them, or none.

    What has come of a registered encoder when a download breaks is kept beside the destination, and
    the same call goes on with it.

    Args:
        uri_or_path: see `encoder_folder`.
        destination: a folder that does not exist or is empty.
        onnx: write `encoder.onnx` too, see `export_onnx`.
        tracking_uri: MLflow, for a registered encoder.

    Returns:
        The files written, and how the exported encoder compares.

    Raises:
        UserError: there is no such encoder, one of its files is damaged, it cannot be exported, or
            the destination holds something.
        InterruptedRunError: the download broke.
    """
    destination = Path(destination)
    exported = None
    with whole_folder(destination) as target:
        keep = _beside(destination)
        with encoder_folder(uri_or_path, tracking_uri=tracking_uri, keep=keep) as folder:
            for name in names_of(folder):
                (target / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(folder / name, target / name)
        if onnx:
            exported = export_onnx(target, target / ONNX_FILE)
    files = sorted(path for path in destination.rglob("*") if path.is_file())
    return Fetched(files, exported)


def _fill(scratch: Path, location: str, server: str, uri: str, *, kept: bool) -> None:
    try:
        download(location, scratch, tracking_uri=server)
    except OSError as error:
        reason = " ".join(str(error).split())
        then = f"; what has come is in {scratch}, the same command goes on with it" if kept else ""
        raise InterruptedRunError(f"{uri} could not be fetched: {reason}{then}") from error


def _with_encoder(folder: Path, uri: str) -> Path:
    """The folder, if an encoder of ours is in it."""
    missing = [name for name in (WEIGHTS_FILE, CONFIG_FILE) if not (folder / name).is_file()]
    if missing:
        raise UserError(Problem(uri, f"holds no encoder: {', '.join(missing)} missing"))
    return folder


def _refuse_damaged(
    folder: Path, uri: str, *, sha256: str | None = None, but_for: str | None = None
) -> None:
    problems = damaged_files(folder, but_for=but_for)
    if sha256 is not None and checksums(folder).get(WEIGHTS_FILE, sha256) != sha256:
        problems.append(Problem(uri, f"{WEIGHTS_FILE} is not the one that was registered"))
    if problems:
        raise UserError(problems)


@contextmanager
def _scratch(keep: Path | None, location: str) -> Iterator[Path]:
    """A folder for a download, removed when the body ends well; kept if it is to be."""
    if keep is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    # Of one version's files; another's would not go with them.
    digest = hashlib.sha256(location.encode()).hexdigest()[:12]
    folder = keep.with_name(f"{keep.name}-{digest}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                Problem(str(folder), "another process is fetching the same encoder to there")
            ) from error
        try:
            yield folder
        except (InterruptedRunError, KeyboardInterrupt):
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    shutil.rmtree(folder, ignore_errors=True)


def _beside(destination: Path) -> Path:
    """Where a broken download to a folder waits: beside it, or where temporary files go."""
    target = destination.resolve()
    home = next(folder for folder in target.parents if folder.exists())
    if not os.access(home, os.W_OK):
        home = Path(tempfile.gettempdir())
    return home / f".{target.name}.download"
