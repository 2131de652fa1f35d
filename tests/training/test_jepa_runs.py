"""Whole runs of JEPA objectives: their states, and the encoders that leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from pipeline.learning.learner import Learner
from pipeline.recipe import Recipe
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.runs.folder import RunFolder
from pipeline.runs.product import package_encoder
from tests.encoders.vit import SECTION as VIT
from tests.objectives.cases import MASKED
from tests.training.loops import Crash, crashing_after, loop_for, metrics_of, same

pytestmark = pytest.mark.fast

LEJEPA = {"kind": "lejepa", "projector": [16, 8], "slices": 16}
LOCAL = {"count": 2, "local": {"count": 2, "size": 16}}
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{name: (section, {"masks": {"mode": "corrected"}}) for name, section in MASKED.items()},
    "ijepa, one block": (MASKED["ijepa"], {"masks": {"targets": 1}}),
    "ijepa, official masks": (MASKED["ijepa"], {"masks": {"mode": "official"}}),
    "lejepa": (LEJEPA, {"count": 4}),
}


def recipe_for(
    shards: Path, objective: dict[str, Any], views: dict[str, Any], *, steps: int = 15
) -> Recipe:
    """Of an epoch and a half, unless told otherwise."""
    schedules = {"lr_start": 1e-4, "lr_end": 1e-6, "weight_decay": 0.04, "weight_decay_end": 0.4}
    return Recipe.model_validate(
        {
            "data": {"shards": str(shards), "streams": 4, "shuffle_window": 64},
            "views": {"size": 32, "count": 1, **views},
            "encoder": VIT,
            "objective": objective,
            "train": {
                "steps": steps,
                "global_batch": 24,
                "log_every": 5,
                "checkpoint": {"every_steps": 4},
                "optimizer": {"lr": 1e-3, **schedules},
            },
        }
    )


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_crashed_ends_as_the_undisturbed_one(
    name: str, clipart_shards: Path, tmp_path: Path
) -> None:
    """Masks, slices, twins and decay go on where they stood."""
    recipe = recipe_for(clipart_shards / "train", *RUNS[name])
    undisturbed = loop_for(recipe, tmp_path / "a")
    undisturbed.run()
    with pytest.raises(Crash):
        loop_for(recipe, tmp_path / "b", crashing_after(1)).run()
    resumed = loop_for(recipe, tmp_path / "b")
    resumed.run()
    assert same(undisturbed.learner.state_dict(), resumed.learner.state_dict())
    losses = [[m["metrics"]["loss"] for m in metrics_of(tmp_path / run)] for run in ("a", "b")]
    assert losses[0] == losses[1]


def weights_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return dict(module.state_dict())


@pytest.mark.parametrize("name", ["ijepa", "dmt_jepa", "lejepa"])
def test_the_encoder_that_leaves_is_the_twin_of_masked_runs_and_loads_in_plain_timm(
    name: str, clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(clipart_shards / "train", *RUNS[name])
    loop = loop_for(recipe, tmp_path / "run")
    loop.run()
    identity = {"data fingerprint": "", "encoder.init sha256": None}
    package_encoder(
        recipe, RunFolder(str(tmp_path / "run")), identity, {}, into=tmp_path / "package"
    )
    packaged = PackagedEncoder.load(tmp_path / "package").backbone
    plain = timm.create_model(VIT["name"], num_classes=0, **VIT["args"])
    plain.load_state_dict(packaged.state_dict())
    learner: Learner = loop.learner
    if name == "lejepa":
        assert learner.twin is None
        assert same(weights_of(plain), weights_of(learner.encoder))
        return
    assert learner.twin is not None
    assert same(weights_of(plain), weights_of(learner.twin.module))
    assert not same(weights_of(plain), weights_of(learner.encoder))


def test_lejepa_trains_on_views_of_two_sizes(clipart_shards: Path, tmp_path: Path) -> None:
    recipe = recipe_for(clipart_shards / "train", LEJEPA, LOCAL, steps=25)
    resnet = {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}}
    recipe = Recipe.model_validate({**recipe.resolved(), "encoder": resnet})
    loop_for(recipe, tmp_path / "run").run()
    losses = [m["metrics"]["loss"] for m in metrics_of(tmp_path / "run")]
    assert losses[-1] < losses[0]
