"""Scores of a run's encoder: which there are, and what the floors are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.learning.learner import build_learner
from pipeline.recipe import Recipe
from pipeline.training.probing import probe_learner

pytestmark = pytest.mark.fast


def recipe_for(
    shards: Path, *, objective: dict[str, Any] | None = None, given: Any = None, **evaluate: Any
) -> Recipe:
    sets = {"train": f"{shards}/train", "test": f"{shards}/test"}
    return Recipe.model_validate(
        {
            "data": {"shards": f"{shards}/train"},
            "views": {"size": 16},
            "encoder": {
                "name": "resnet10t",
                "args": {"channels": [8, 8, 16, 16], "stem_width": 8},
                "features": given,
            },
            "objective": objective or {"projector": [16, 8]},
            "train": {"epochs": 1},
            "evaluate": {**sets, "max_samples": 100, **evaluate} if evaluate else None,
        }
    )


def test_floors_stand_beside_the_first_kind_of_features(clipart_shards: Path) -> None:
    kinds = ["projector", "pooled", "patch_average", "last_layers"]
    recipe = recipe_for(clipart_shards, probes=["knn", "naive_bayes"], features=kinds)
    scores = probe_learner(recipe, build_learner(recipe))
    suffixes = ("", "_pooled", "_patch_average", "_last_layers", "_untrained", "_raw")
    assert list(scores) == [f"{p}{suffix}" for suffix in suffixes for p in ("knn", "naive_bayes")]
    # The learner has made no step.
    for probe in ("knn", "naive_bayes"):
        assert scores[probe] == scores[f"{probe}_untrained"]
    assert len(set(scores.values())) > 4


CMIM = {"kind": "cmim", "width": 6, "decoder": {"kind": "conv", "channels": [16, 8]}}


PROBES = ["knn", "linear"]
CODED: dict[str, Any] = {"objective": CMIM, "probes": PROBES, "max_samples": 240}


def test_probes_look_at_what_the_encoder_gives_unless_told(clipart_shards: Path) -> None:
    """Each kind alone scores what it does beside the others."""
    every = ["mean", "sample", "decoder_hidden", "pooled"]
    together = recipe_for(clipart_shards, features=every, **CODED)
    scores = probe_learner(together, build_learner(together))
    by_kind = set()
    for kind in (None, *every):
        alone = recipe_for(clipart_shards, given=kind, **CODED)
        found = probe_learner(alone, build_learner(alone))
        assert list(found) == [f"{p}{s}" for s in ("", "_untrained", "_raw") for p in PROBES]
        suffix = "" if kind in (None, "mean") else f"_{kind}"
        for probe in PROBES:
            assert found[probe] == found[f"{probe}_untrained"] == scores[f"{probe}{suffix}"]
        by_kind.add(tuple(found[probe] for probe in PROBES))
    assert len(by_kind) == 4


def test_probes_of_a_hidden_layer_look_at_the_one_that_is_given(clipart_shards: Path) -> None:
    found = []
    for layer in (0, 1):
        given = {"kind": "decoder_hidden", "layer": layer}
        recipe = recipe_for(
            clipart_shards, given=given, features=["mean", "decoder_hidden"], **CODED
        )
        found.append(probe_learner(recipe, build_learner(recipe)))
    first, second = found
    assert first["linear"] == second["linear"]
    assert first["linear_decoder_hidden"] != second["linear_decoder_hidden"]


def test_without_evaluation_there_are_no_scores(clipart_shards: Path) -> None:
    recipe = recipe_for(clipart_shards)
    assert probe_learner(recipe, build_learner(recipe)) == {}
