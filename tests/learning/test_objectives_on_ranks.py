"""Every objective through the learner: two processes as one, micro-batches as the whole batch."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.learning.learner import LearnerBatch, build_learner
from pipeline.learning.optimization import Optimization
from pipeline.recipe import Recipe
from tests.encoders.vit import SECTION as PATCHES
from tests.objectives.cases import BATCH, MASKED, OBJECTIVES
from tests.ranks import optimization_steps, processes
from tests.ranks.optimization_steps import steps_of

pytestmark = pytest.mark.fast

RESNET = {"name": "resnet10t", "args": {"channels": [8, 8, 16, 16], "stem_width": 8}}
VIT = {
    "name": "vit_tiny_patch16_224",
    "args": {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
}
STEPS = 3


MASKS = {mode: {"kind": "multiblock", "mode": mode} for mode in ("corrected", "official")}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{name: (section, {}) for name, section in OBJECTIVES.items()},
    **{name: (section, {"masks": MASKS["corrected"]}) for name, section in MASKED.items()},
    "ijepa, official masks": (MASKED["ijepa"], {"masks": MASKS["official"]}),
}
"""Sections of objectives, and what their views need."""


def recipe(
    section: dict[str, Any],
    views: dict[str, Any] | None = None,
    encoder: dict[str, Any] = RESNET,
    **train: Any,
) -> Recipe:
    views = views or {}
    return Recipe.model_validate(
        {
            "data": {"shards": "unused"},
            "views": {"size": 32, "count": 1 if "masks" in views else 2, **views},
            "encoder": PATCHES if "masks" in views else encoder,
            "objective": section,
            "train": {
                "epochs": 1,
                "global_batch": BATCH,
                # As large as it may be with the gradients that some of the losses have.
                "optimizer": {"kind": "sgd", "lr": 0.01, "warmup": 0, "clip_norm": 1.0},
                **train,
            },
        }
    )


@pytest.fixture(scope="module")
def views() -> Tensor:
    noise = torch.Generator().manual_seed(0)
    shape = STEPS, BATCH, 2, 32, 32, 3
    return torch.randint(0, 256, shape, generator=noise, dtype=torch.uint8)


@pytest.fixture(scope="module")
def on_two_ranks(
    views: Tensor, tmp_path_factory: pytest.TempPathFactory
) -> list[list[dict[str, Any]]]:
    """What both ranks report, of all objectives; batch normalisation in encoder and heads."""
    folder = tmp_path_factory.mktemp("ranks")
    recipes = [recipe(*case).resolved() for case in CASES.values()]
    (folder / "recipes.json").write_text(json.dumps(recipes))
    torch.save(views, folder / "views.pt")
    processes.run(optimization_steps.main, 2, folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("number", range(len(CASES)), ids=CASES.keys())
def test_two_processes_take_the_steps_of_one(
    number: int, views: Tensor, on_two_ranks: list[list[dict[str, Any]]]
) -> None:
    """In float64: losses, gradients, and after three steps weights, twin, queue and statistics."""
    expected = steps_of(recipe(*list(CASES.values())[number]), views)
    ranks = [found[number] for found in on_two_ranks]
    losses = torch.cat([rank["losses"] for rank in ranks], dim=2)
    torch.testing.assert_close(losses, expected["losses"], rtol=1e-8, atol=1e-10)
    for step in range(STEPS):
        for name, value in expected["terms"][step].items():
            own = torch.stack([rank["terms"][step][name] for rank in ranks])
            torch.testing.assert_close(own.mean(), value, rtol=1e-8, atol=1e-10)
            if name == "sigreg":  # of the global batch, on every rank
                torch.testing.assert_close(own[0], own[1], rtol=1e-8, atol=1e-10)
        for rank in ranks:
            assert_one_direction(rank["gradients"][step], expected["gradients"][step])
    for rank in ranks:
        assert rank["metrics"] == pytest.approx(expected["metrics"], rel=1e-5, abs=1e-6)
        assert rank["state"].keys() == expected["state"].keys()
        for name, value in expected["state"].items():
            torch.testing.assert_close(
                rank["state"][name], value, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
            )


def assert_one_direction(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    ours, theirs = (
        torch.cat([gradients[name].flatten() for name in expected])
        for gradients in (found, expected)
    )
    assert torch.cosine_similarity(ours, theirs, dim=0) > 1 - 1e-6
    assert ours.norm() / theirs.norm() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_micro_batches_take_the_steps_of_the_whole_batch(name: str, views: Tensor) -> None:
    """With an encoder that no batch normalisation ties to its micro-batch."""
    whole, in_parts = (
        steps_of(recipe(*CASES[name], encoder=VIT, micro_batch=size), views) for size in (None, 2)
    )
    torch.testing.assert_close(in_parts["losses"], whole["losses"], rtol=1e-9, atol=1e-11)
    for key, value in whole["state"].items():
        torch.testing.assert_close(in_parts["state"][key], value, rtol=1e-8, atol=1e-10)


def test_a_twin_starts_from_the_weights_that_the_encoder_starts_from() -> None:
    learner = build_learner(recipe(OBJECTIVES["byol"]))
    weights = {
        name: value + 1 if value.is_floating_point() else value
        for name, value in learner.encoder.state_dict().items()
    }
    learner.load_encoder(weights)
    assert learner.twin is not None
    for name, value in learner.twin.module.state_dict().items():
        assert torch.equal(value, weights[name])


def test_the_predictor_of_simsiam_keeps_its_rate_while_the_rest_falls(views: Tensor) -> None:
    checked = recipe(OBJECTIVES["simsiam"], optimizer={"kind": "sgd", "lr": 0.1})
    learner = build_learner(checked)
    optimization = Optimization(
        learner, config=checked.train, seed=0, total_steps=10, device=torch.device("cpu")
    )
    optimization.step_count = 9
    falling = optimization.learning_rate
    assert falling < 0.01
    optimization.step(LearnerBatch(sample_id=torch.arange(BATCH), views=(views[0],)))
    groups = optimization.state_dict()["optimizer"]["param_groups"]
    assert {(group["constant_rate"], group["lr"]) for group in groups} == {
        (True, 0.1),
        (False, falling),
    }
    constant = sum(len(group["params"]) for group in groups if group["constant_rate"])
    assert constant == len(list(learner.objective.predictor.parameters()))


def test_a_clipped_gradient_has_the_bound_as_its_norm(views: Tensor) -> None:
    """And the norm that is logged is the one before."""
    checked = recipe(OBJECTIVES["vicreg"], optimizer={"kind": "sgd", "clip_norm": 0.01})
    learner = build_learner(checked)
    optimization = Optimization(
        learner, config=checked.train, seed=0, total_steps=10, device=torch.device("cpu")
    )
    optimization.step(LearnerBatch(sample_id=torch.arange(BATCH), views=(views[0],)))
    gradients = [w.grad for w in learner.parameters() if w.grad is not None]
    assert float(torch.nn.utils.get_total_norm(gradients)) == pytest.approx(0.01, rel=1e-4)
    assert float(optimization.gradient_norm) > 0.1
