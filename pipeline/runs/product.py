"""From a finished run to its product: the packaged encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.evaluation.probes.score import Score
from pipeline.learning.learner import Learner, build_learner
from pipeline.recipe import Recipe
from pipeline.registry.card import model_card
from pipeline.registry.package import PackageConfig, Preprocessing, write_package
from pipeline.runs.checkpoint import CheckpointError, CheckpointStore
from pipeline.runs.folder import RunFolder


def trained_learner(recipe: Recipe, folder: RunFolder) -> Learner:
    """The learner with the weights of the run's newest checkpoint, on the CPU."""
    checkpoints = CheckpointStore(folder.checkpoints, keep=1)
    newest = checkpoints.newest()
    if newest is None:
        raise CheckpointError(f"{folder.checkpoints} holds no checkpoint")
    learner = build_learner(recipe)
    learner.load_state_dict(checkpoints.read(newest, "optimization")["learner"])
    return learner


def package_encoder(
    recipe: Recipe,
    folder: RunFolder,
    identity: dict[str, Any],
    scores: Mapping[str, Score],
    *,
    into: Path,
) -> str:
    """Write the run's encoder as a package.

    Args:
        recipe: of the run.
        folder: of the run.
        identity: of the run.
        scores: of the encoder's probes.
        into: an empty folder.

    Returns:
        sha256 of the weights' file.
    """
    learner = trained_learner(recipe, folder).eval()
    autoencoder = learner.objective.sole_autoencoder
    width = learner.objective.feature_width
    config = PackageConfig(
        name=recipe.encoder.name,
        args=recipe.encoder.create_model_args(),
        feature_width=width,
        backbone_width=width,
        preprocessing=Preprocessing(
            size=recipe.views.size, mean=recipe.views.mean, std=recipe.views.std
        ),
        autoencoder=recipe.objective.sole_autoencoder,
        provenance={
            "run": folder.name,
            "objective": recipe.objective.kind,
            "data_fingerprint": identity["data fingerprint"],
            "started_from_sha256": identity["encoder.init sha256"],
        },
    )
    config = config.giving(recipe.features, autoencoder)
    return write_package(
        into,
        config=config,
        weights=learner.product.state_dict(),
        autoencoder=autoencoder.state_dict() if autoencoder else None,
        card=model_card(config, run=folder.name, recipe_yaml=recipe.to_yaml(), scores=scores),
    )
