"""Which data figures are of, in one word: only figures of the same data can be compared."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pipeline.data.sources.manifest import load_manifest
from pipeline.evaluation.config import EvaluateConfig
from pipeline.views.parameters import ImageViews

_NOT_OF_PANEL = {"executor", "count", "parts", "local", "masks"}
"""Settings of views without effect on the panel's."""


def probe_data_fingerprint(config: EvaluateConfig) -> str | None:
    """Hash of the shards' fingerprints and of which of their samples are used; None: no probes.

    Raises:
        UserError: the shards are missing.
    """
    if config.sets is None:
        return None
    train, test = config.sets
    return _hash(
        {
            "train": load_manifest(train).fingerprint,
            "test": load_manifest(test).fingerprint,
            "validation": config.validation,
            "max_samples": config.max_samples,
        }
    )


def panel_data_fingerprint(
    config: EvaluateConfig, *, data: str, views: ImageViews, seed: int
) -> str:
    """Hash of what the label-free panel of a run's snapshots is of: the samples and their views.

    Args:
        config: the recipe's `evaluate` section.
        data: fingerprint of the training's shards, which are looked at if there are no others.
        views: the augmentations.
        seed: of the views.

    Raises:
        UserError: the shards are missing.
    """
    return _hash(
        {
            "data": load_manifest(config.sets[1]).fingerprint if config.sets else data,
            "validation": config.validation,
            "samples": config.snapshot_samples,
            "views": views.model_dump(mode="json", exclude=_NOT_OF_PANEL),
            "seed": seed,
        }
    )


def _hash(what: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
