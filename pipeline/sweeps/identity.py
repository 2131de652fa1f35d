"""What makes a sweep the sweep it is, so that the same command takes it up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.data.order.exclusion import Exclusion
from pipeline.recipe import Recipe
from pipeline.runs.identity import run_identity
from pipeline.sweeps.spaces.recipes import sweep_config

_FREE = ("trials", "hours", "concurrent", "max_failed", "winner_seeds")
"""What may differ when a sweep is taken up again."""


def sweep_identity(
    recipe: Recipe, *, fingerprint: str, init_sha256: str | None, excluded: Exclusion
) -> dict[str, Any]:
    """The recipe's identity as a run, and what decides which trials there are.

    Args:
        recipe: with its `sweep` section.
        fingerprint: of the data's manifest.
        init_sha256: of the weights that trials start from, if any.
        excluded: samples that trials leave out.
    """
    settings = sweep_config(recipe).model_dump(mode="json", exclude=set(_FREE))
    run = run_identity(recipe, fingerprint=fingerprint, init_sha256=init_sha256, excluded=excluded)
    space = settings.pop("space")
    return {
        **run,
        **{f"sweep.{name}": value for name, value in settings.items()},
        **{f"sweep.space.{path}": dimension for path, dimension in space.items()},
        **{
            f"evaluate.{name}": value
            for name, value in recipe.evaluate.model_dump(mode="json").items()
            if name != "test"  # which no trial sees
        },
        "encoder.features": recipe.features.model_dump(mode="json"),
    }


def sweep_name(recipe: Recipe, identity: Mapping[str, Any]) -> str:
    """The recipe's name, or one derived from what the sweep searches."""
    if recipe.name is not None:
        return recipe.name
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"sweep-{recipe.objective.kind}-{digest[:8]}"
