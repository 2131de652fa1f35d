"""Scores of a run's encoder: which there are, and what the floors are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.recipe import Recipe
from pipeline.training.learner import build_learner
from pipeline.training.probing import probe_learner

pytestmark = pytest.mark.fast


def recipe_for(shards: Path, **evaluate: Any) -> Recipe:
    sets = {"train": f"{shards}/train", "test": f"{shards}/test"}
    return Recipe.model_validate(
        {
            "data": {"shards": f"{shards}/train"},
            "views": {"size": 16},
            "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 16, 16], "stem_width": 8}},
            "objective": {"projector": [16, 8]},
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


def test_without_evaluation_there_are_no_scores(clipart_shards: Path) -> None:
    recipe = recipe_for(clipart_shards)
    assert probe_learner(recipe, build_learner(recipe)) == {}
