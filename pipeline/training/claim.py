"""What is to be verified: an encoder's weights, and the run that is said to have made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.data import storage
from pipeline.data.stored_folder import folder_to_read
from pipeline.errors import Problem, UserError
from pipeline.learning.learner import Learner
from pipeline.recipe import Recipe
from pipeline.registry.packages.config import WEIGHTS_FILE
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.registry.versions.origin import origin_of
from pipeline.registry.versions.resolve import encoder_folder
from pipeline.runs.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An encoder, in memory, with the run it is said to come from."""

    encoder: str
    """As the user named it."""
    folder: RunFolder
    """Of the run."""
    weights: dict[str, Tensor]
    """As `weights_of` gives them."""
    sha256: str
    """Of its weights' file, as it is."""
    registered_sha256: str | None
    """The same, as it was when it was registered; None: not registered."""


def read_claim(uri: str, *, run: str | None, tracking_uri: str | None) -> Claim:
    """Read an encoder, and find its run.

    Args:
        uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, the folder or URI of a finished run, or,
            with `run`, a local folder that holds an encoder.
        run: folder or URI of the run, where it is not what is recorded.
        tracking_uri: MLflow; see `tracking_server.tracking_uri`.

    Raises:
        UserError: there is no such encoder, or nobody knows of its run.
    """
    if uri.startswith("models:/"):
        with encoder_folder(uri, tracking_uri=tracking_uri, check=False) as package:
            origin = origin_of(uri, tracking_uri=tracking_uri)
            location = run or origin.folder
            if location is None:
                raise UserError(
                    Problem(
                        uri,
                        f"its MLflow run {origin.run_id} does not say where its folder is; give "
                        "the folder as --run",
                    )
                )
            return _claim(uri, finished_run(location), package, sha256=origin.encoder_sha256)
    if run is not None:
        with encoder_folder(uri, check=False) as package:
            return _claim(uri, finished_run(run), package)
    folder = finished_run(uri)
    with folder_to_read(folder.package) as package:
        return _claim(uri, folder, package)


def finished_run(location: str) -> RunFolder:
    """The folder of a finished run.

    Raises:
        UserError: it is none.
    """
    away = storage.unreachable(location)
    if away is not None:
        raise UserError(Problem("run", away))
    folder = RunFolder(storage.absolute(location))
    if not storage.exists(folder.identity):
        raise UserError(
            Problem(
                location,
                "is not the folder of a run, here and now: it has no run.json. Of a run that has "
                "moved, give the folder as --run",
            )
        )
    if not storage.exists(folder.result):
        raise UserError(Problem(location, "this run has not finished: there is no result.json"))
    return folder


def weights_of(encoder: PackagedEncoder) -> dict[str, Tensor]:
    """All that is learnt of an encoder, and the normalisation of its input, by name."""
    normalisation = {"input.mean": encoder.mean.flatten(), "input.std": encoder.std.flatten()}
    return {**encoder.state_dict(), **normalisation}


def trained_weights(recipe: Recipe, learner: Learner) -> dict[str, Tensor]:
    """The same of a learner, as the encoder that would be made of it has them."""
    parts = {"backbone": learner.product, "autoencoder": learner.objective.sole_autoencoder}
    weights = {
        f"{part}.{name}": value
        for part, module in parts.items()
        if module is not None
        for name, value in module.state_dict().items()
    }
    normalisation = {
        "input.mean": torch.tensor(recipe.views.mean),
        "input.std": torch.tensor(recipe.views.std),
    }
    return {**weights, **normalisation}


def _claim(uri: str, folder: RunFolder, package: Path, *, sha256: str | None = None) -> Claim:
    return Claim(
        encoder=uri,
        folder=folder,
        weights=weights_of(PackagedEncoder.load(package)),
        sha256=storage.sha256_of(str(package / WEIGHTS_FILE)),
        registered_sha256=sha256,
    )
