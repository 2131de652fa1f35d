"""Small runs of objectives with an autoencoder, and what their reports are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline.data.reading import ingest
from pipeline.data.reading.first_views import FirstImages, first_images
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.planning.length import stream_plan
from pipeline.recipe import Recipe
from pipeline.report.facts import Interpolations, PriorSamples, Reconstructions, RunFacts
from pipeline.runs.folder import RunFolder
from pipeline.training.loop import TrainingLoop
from tests.report.test_patches import begun

CPU = torch.device("cpu")
WIDTH = 5
CODE = {"width": WIDTH, "decoder": {"kind": "conv", "channels": [8, 8]}}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "cmim, grey": {"kind": "cmim", "channels": 1, **CODE},
    "a_mim, means": {
        "kind": "a_mim",
        "likelihood": {"kind": "bernoulli", "reduction": "mean"},
        **CODE,
    },
    "mim": {"kind": "mim", "likelihood": {"kind": "gaussian", "scale": 0.2}, **CODE},
}
Run = tuple[Recipe, RunFolder]


def recipe_for(shards: Path | str, objective: dict[str, Any], **settings: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "data": {"shards": str(shards), "streams": 4, "shuffle_window": 64},
            "views": {
                "size": 32,
                "count": 1,
                "crop_scale": [1, 1],
                "flip": 0,
                "jitter": 0,
                "grayscale": 0,
            },
            "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
            "objective": objective,
            "train": {
                "steps": 6,
                "global_batch": 24,
                "log_every": 2,
                "optimizer": {"kind": "adamw", "lr": 0.02},
            },
            **settings,
        }
    )


def trained(recipe: Recipe, path: Path) -> Run:
    folder = begun(recipe, path)
    TrainingLoop(recipe=recipe, folder=folder, device=CPU, ingest=ingest.inline).run()
    return recipe, folder


def reader_of(recipe: Recipe) -> SliceReader:
    return SliceReader(
        manifests=recipe.data.manifests, plan=stream_plan(recipe), views=recipe.views
    )


def first_of(recipe: Recipe, count: int = 12) -> FirstImages:
    return first_images(reader_of(recipe), count=count)


def told(facts: RunFacts) -> tuple[Reconstructions, PriorSamples, Interpolations]:
    assert isinstance(facts.reconstructions, Reconstructions), facts.reconstructions
    assert isinstance(facts.prior_samples, PriorSamples), facts.prior_samples
    assert isinstance(facts.interpolations, Interpolations), facts.interpolations
    return facts.reconstructions, facts.prior_samples, facts.interpolations
