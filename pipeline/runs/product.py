"""From a finished run to its product: the packaged encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.accounting import read_ledger
from pipeline.evaluation.probes.score import Score
from pipeline.learning.learner import Learner, build_learner
from pipeline.recipe import Recipe
from pipeline.registry.packages.card import EXCLUDED_FILE, CardFacts, model_card
from pipeline.registry.packages.config import PackageConfig, Preprocessing
from pipeline.registry.packages.files import write_package
from pipeline.registry.packages.parity import Parity, expected_of
from pipeline.runs.checkpoint import CheckpointError, CheckpointStore
from pipeline.runs.folder import RunFolder
from pipeline.runs.sources import sources
from pipeline.runs.summary import collapse_of, panel_of


def trained_learner(recipe: Recipe, folder: RunFolder) -> Learner:
    """The learner with the weights of the run's newest checkpoint, on the CPU."""
    checkpoints = CheckpointStore(folder.checkpoints, keep=1)
    newest = checkpoints.newest()
    if newest is None:
        raise CheckpointError(f"{folder.checkpoints} holds no checkpoint")
    learner = build_learner(recipe)
    learner.load_state_dict(checkpoints.read(newest, "optimization")["learner"])
    return learner


class Product(NamedTuple):
    """A package, as those need to know it who register it."""

    sha256: str
    """Of the weights' file."""
    parity: Parity
    """What the live encoder makes of a few images, for the stored one to be held against."""


def package_encoder(
    recipe: Recipe,
    folder: RunFolder,
    identity: dict[str, Any],
    scores: Mapping[str, Score],
    *,
    into: Path,
    bad_pairs: Mapping[str, int] | str | None = None,
) -> Product:
    """Write the run's encoder as a package.

    Args:
        recipe: of the run.
        folder: of the run.
        identity: of the run.
        scores: of the encoder's probes.
        into: an empty folder.
        bad_pairs: how many samples of each sort the run found bad, or why it is not known.

    Raises:
        OSError: a file of the run cannot be read, or the package not be written.
    """
    learner = trained_learner(recipe, folder).eval()
    autoencoder = learner.objective.sole_autoencoder
    config = PackageConfig.of(
        recipe.encoder.name,
        recipe.encoder.create_model_args(),
        width=learner.objective.feature_width,
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
    excluded = _excluded(folder)
    facts = CardFacts(
        run=folder.name,
        recipe_yaml=recipe.to_yaml(),
        scores=scores,
        panel=panel_of(folder),
        collapse=collapse_of(folder),
        samples=sum(load_corpus(recipe.data.manifests).samples),
        quarantined=_quarantined(folder),
        bad_pairs=bad_pairs,
        excluded=0 if excluded is None else pq.read_metadata(pa.BufferReader(excluded)).num_rows,
        sources=sources(recipe),
    )
    sha256 = write_package(
        into,
        config=config,
        weights=learner.product.state_dict(),
        autoencoder=autoencoder.state_dict() if autoencoder else None,
        card=model_card(config, facts),
        beside={} if excluded is None else {EXCLUDED_FILE: excluded},
    )
    return Product(sha256, expected_of(learner.product, config, autoencoder))


def _excluded(folder: RunFolder) -> bytes | None:
    """The run's own list of the samples that it left out."""
    return storage.read_file(folder.excluded) if storage.exists(folder.excluded) else None


def _quarantined(folder: RunFolder) -> int:
    if not storage.exists(folder.ledger):
        return 0
    return read_ledger(folder.ledger, at_most=0)[1]
