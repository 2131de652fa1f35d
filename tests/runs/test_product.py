"""From a run with a decoder to its package: features of any kind, without training again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

import pipeline
from pipeline.data.reading.ingest import inline
from pipeline.evaluation.config import FeatureKind
from pipeline.evaluation.features import encode_images
from pipeline.learning.learner import Learner
from pipeline.recipe import Recipe
from pipeline.runs.folder import RunFolder
from pipeline.runs.product import package_encoder
from pipeline.training.loop import TrainingLoop

pytestmark = pytest.mark.fast

CODES = {"width": 6, "decoder": {"kind": "conv", "channels": [16, 8]}}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "cmim": {"kind": "cmim", **CODES},
    "composite": {
        "kind": "composite",
        "parts": [
            {"objective": {"kind": "simclr", "projector": [16]}},
            {"objective": {"kind": "a_mim", "channels": 1, **CODES}, "weight": 0.1},
        ],
    },
}
ARGS = {"channels": [8, 8, 8, 12], "stem_width": 8}
IDENTITY = {"data fingerprint": "", "encoder.init sha256": None}
HIDDEN = {"kind": "decoder_hidden", "layer": 0}


def recipe_for(shards: Path, objective: str, features: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "data": {"shards": f"{shards}/train", "streams": 4, "shuffle_window": 64},
            "views": {"size": 16},
            "encoder": {"name": "resnet10t", "args": ARGS, "features": features},
            "objective": OBJECTIVES[objective],
            "train": {"steps": 4, "global_batch": 24, "checkpoint": {"every_steps": 4}},
            "evaluate": {"snapshot_samples": 0},
        }
    )


@pytest.fixture(scope="module", params=OBJECTIVES)
def trained(
    request: pytest.FixtureRequest, clipart_shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, RunFolder, Learner]:
    """Trained before anybody asked for features."""
    folder = RunFolder(str(tmp_path_factory.mktemp("run")))
    loop = TrainingLoop(
        recipe=recipe_for(clipart_shards, request.param, None),
        folder=folder,
        device=torch.device("cpu"),
        ingest=inline,
    )
    loop.run()
    return request.param, folder, loop.learner


@pytest.mark.parametrize(
    ("features", "given", "width"),
    [
        (None, {"kind": "mean"}, 6),
        ("pooled", {"kind": "pooled"}, 12),
        ("sample", {"kind": "sample"}, 6),
        (HIDDEN, {**HIDDEN, "pool": "mean"}, 16),
    ],
)
def test_a_package_gives_what_probes_see_of_the_run(
    trained: tuple[str, RunFolder, Learner],
    clipart_shards: Path,
    tmp_path: Path,
    features: Any,
    given: dict[str, Any],
    width: int,
) -> None:
    objective, folder, learner = trained
    recipe = recipe_for(clipart_shards, objective, features)
    package_encoder(recipe, folder, IDENTITY, {}, into=tmp_path)
    config = pipeline.load_encoder(str(tmp_path)).config
    assert config.features.model_dump() == given
    assert (config.feature_width, config.num_features) == (width, 12)

    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2)
    for kind in ("pooled", "mean", "sample", "decoder_hidden"):
        wanted = recipe.features.of_kind(kind)
        encoder = pipeline.load_encoder(str(tmp_path), features=wanted.model_dump())
        expected = encode_images(
            learner.product,
            images,
            kind=FeatureKind(kind),
            mean=recipe.views.mean,
            std=recipe.views.std,
            features=recipe.features,
            autoencoder=learner.objective.sole_autoencoder,
        )
        with torch.no_grad():
            torch.testing.assert_close(encoder(inputs), expected)
    plain = timm.create_model("resnet10t", num_classes=0, **ARGS)
    plain.load_state_dict(load_file(tmp_path / "encoder.safetensors"))
