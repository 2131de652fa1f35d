"""An arbiter in the learner: on two processes, with micro-batches, and in the journal."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.data.reading.assemble import Batch
from pipeline.learning.feed import Feed
from pipeline.learning.learner import LearnerBatch, build_learner
from pipeline.learning.optimization import Optimization
from pipeline.learning.step_metrics import step_metrics
from pipeline.recipe import Recipe
from tests.objectives.cases import BATCH
from tests.ranks import optimization_steps, processes
from tests.ranks.optimization_steps import steps_of

pytestmark = pytest.mark.fast

ENCODER = {"name": "resnet10t", "args": {"channels": [8, 8, 16, 16], "stem_width": 8}}
VIT = {
    "name": "vit_tiny_patch16_224",
    "args": {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
}
STEPS = 3
UOTA = {"arbiter": {"kind": "uota", "temperature": 0.5, "start_epoch": 1}}
SIMCLR = {"kind": "simclr", "projector": [16, 3]}  # fewer dimensions than samples
LEJEPA = {"kind": "lejepa", "slices": 16, "projector": [16, 4]}
DBPM = {"miner": {"kind": "dbpm", "warm_up": 1, "noisy": 0.5, "faulty": 0.5}}
PARTS = [{"objective": SIMCLR}, {"objective": {"kind": "barlow", "projector": [16, 2]}}]
CMIM = {"kind": "cmim", "width": 4, "decoder": {"kind": "conv", "channels": [8, 8]}}
CASES: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "simclr": (SIMCLR, 2, UOTA),
    "lejepa": (LEJEPA, 4, UOTA),
    "composite": ({"kind": "composite", "parts": PARTS}, 2, UOTA),
    "simclr, mined": (SIMCLR, 2, DBPM),
    "lejepa, both": (LEJEPA, 4, DBPM | UOTA | {"normalize": True, "most": 1.5}),
    "cmim, mined": (CMIM, 1, DBPM),
}
SIGNS = {
    "arbiter": ["arbiter_weight_least", "arbiter_weight_most", "arbiter_effective_share"],
    "miner": [
        *("miner_weight_least", "miner_weight_most", "miner_effective_share"),
        "miner_bad_share",
    ],
}


def recipe(
    name: str,
    *,
    weighed: bool = True,
    encoder: dict[str, Any] = ENCODER,
    **train: Any,
) -> Recipe:
    section, views, pairs = CASES[name]
    return Recipe.model_validate(
        {
            "data": {"shards": "unused"},
            "views": {"size": 32, "count": views},
            "encoder": encoder,
            "objective": section,
            "pairs": pairs if weighed else None,
            "train": {
                "epochs": 1,
                "global_batch": BATCH,
                "optimizer": {"kind": "sgd", "lr": 0.01, "warmup": 0, "clip_norm": 1.0},
                **train,
            },
        }
    )


@pytest.fixture(scope="module")
def views() -> Tensor:
    noise = torch.Generator().manual_seed(0)
    shape = STEPS, BATCH, 4, 32, 32, 3
    return torch.randint(0, 256, shape, generator=noise, dtype=torch.uint8)


@pytest.fixture(scope="module")
def on_two_ranks(
    views: Tensor, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, Any]]]:
    """What each of two ranks reports, of every case."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "recipes.json").write_text(json.dumps([recipe(name).resolved() for name in CASES]))
    torch.save(views, folder / "views.pt")
    processes.run(optimization_steps.main, 2, folder)
    found = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return dict(zip(CASES, zip(*found, strict=True), strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_weigh_as_one(
    name: str, views: Tensor, on_two_ranks: dict[str, list[dict[str, Any]]]
) -> None:
    """In float64: weights, losses, gradients, metrics, and the state after an unweighted step."""
    expected, ranks = steps_of(recipe(name), views), on_two_ranks[name]
    for key in ("weights", "losses"):
        joined = torch.cat([rank[key] for rank in ranks], dim=2)
        torch.testing.assert_close(joined, expected[key], rtol=1e-8, atol=1e-10)
    assert (expected["weights"][0] == 1).all()
    assert (expected["weights"][1:].std(dim=(1, 2)) > 0.05).all()
    for rank in ranks:
        for found, gradients in zip(rank["gradients"], expected["gradients"], strict=True):
            ours, theirs = (
                torch.cat([side[key].flatten() for key in gradients]) for side in (found, gradients)
            )
            assert (ours - theirs).norm() < 1e-6 * theirs.norm()
        assert rank["metrics"] == pytest.approx(expected["metrics"], rel=1e-5, abs=1e-6)
        signs = {key for key in rank["metrics"] if key.startswith(("arbiter_", "miner_"))}
        assert signs == {sign for part in CASES[name][2] for sign in SIGNS.get(part, ())}
        for key, value in expected["state"].items():
            torch.testing.assert_close(rank["state"][key], value, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_micro_batches_are_weighed_as_the_whole_batch(name: str, views: Tensor) -> None:
    """With an encoder that no batch normalisation ties to its micro-batch."""
    whole, in_parts = (
        steps_of(recipe(name, encoder=VIT, micro_batch=size), views) for size in (None, 2)
    )
    for key in ("weights", "losses"):
        torch.testing.assert_close(in_parts[key], whole[key], rtol=1e-9, atol=1e-11)
    for key, value in whole["state"].items():
        torch.testing.assert_close(in_parts["state"][key], value, rtol=1e-8, atol=1e-10)


def step_of(checked: Recipe, views: Tensor, *, epoch: int) -> tuple[Any, dict[str, float]]:
    optimization = Optimization(
        build_learner(checked),
        config=checked.train,
        seed=0,
        total_steps=10,
        device=torch.device("cpu"),
    )
    result = optimization.step(
        LearnerBatch(
            sample_id=torch.arange(BATCH),
            views=(views[0, :, : checked.views.count],),
            epoch=epoch,
        )
    )
    return result, step_metrics(result, optimization.learner.objective, 0.0)


def test_the_total_is_that_of_the_weighed_losses(views: Tensor) -> None:
    result, metrics = step_of(recipe("lejepa"), views, epoch=1)
    expected = (result.weights.total * result.losses.loss).mean() + result.losses.terms["sigreg"]
    torch.testing.assert_close(result.total, expected)
    assert metrics["loss"] == pytest.approx(expected.item())
    assert result.weights.total.shape == (4, BATCH)
    assert not torch.allclose(result.weights.total[0], result.weights.total[1])
    assert metrics["arbiter_weight_least"] == result.weights.total.min()
    assert metrics["arbiter_weight_most"] == result.weights.total.max()
    assert 0 < metrics["arbiter_effective_share"] < 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_are_float32(views: Tensor, precision: str) -> None:
    result, _ = step_of(recipe("simclr", precision=precision), views, epoch=1)
    assert result.weights.total.dtype == torch.float32
    assert result.weights.total.mean().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(result.weights.total[0], result.weights.total[1])


def test_before_the_start_a_step_is_that_without_an_arbiter(views: Tensor) -> None:
    with_arbiter, metrics = step_of(recipe("simclr"), views, epoch=0)
    without, plain = step_of(recipe("simclr", weighed=False), views, epoch=0)
    assert torch.equal(with_arbiter.total, without.total)
    added = {"arbiter_weight_least", "arbiter_weight_most", "arbiter_effective_share"}
    assert metrics == plain | dict.fromkeys(added, 1.0)


def test_an_arbiter_adds_nothing_to_the_state() -> None:
    with_arbiter, without = (
        build_learner(recipe("simclr", weighed=weighed)).state_dict() for weighed in (True, False)
    )
    assert with_arbiter.keys() == without.keys()


def test_the_feed_says_which_epoch_it_is() -> None:
    feed = Feed(recipe("simclr"), grid=None, device=torch.device("cpu"))
    ids = np.arange(BATCH)
    assembled = Batch(
        epoch=7,
        stream=ids.astype(np.int32),
        position=ids,
        sample_id=ids,
        views=(np.zeros((BATCH, 2, 32, 32, 3), dtype=np.uint8),),
    )
    assert feed.batch(assembled, step=70).epoch == 7


def test_a_figure_of_an_objective_must_not_hide_another(views: Tensor) -> None:
    result, _ = step_of(recipe("simclr"), views, epoch=0)
    clash = replace(result.losses, logs={"alignment": torch.ones(())})
    with pytest.raises(ValueError, match="two figures of a step are called alignment"):
        step_metrics(replace(result, losses=clash), build_learner(recipe("simclr")).objective, 0.0)
