"""Batches for one's own loop are those of a run, and one's own loop can end where a run ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import pipeline
from pipeline import collectives
from pipeline.learning.learner import LearnerBatch, StepResult
from pipeline.learning.optimization import Optimization
from pipeline.recipe import Recipe
from tests.encoders.vit import SECTION as VIT
from tests.objectives.cases import MASKED
from tests.training.loops import loop_for, recipe_for, same

pytestmark = pytest.mark.fast


def masked(shards: Path) -> Recipe:
    views = {"size": 32, "count": 1, "masks": {"mode": "official"}}  # which depends on the step
    return recipe_for(shards, objective=MASKED["ijepa"], encoder=VIT, views=views)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[LearnerBatch]:
    """What steps of training are given."""
    found: list[LearnerBatch] = []
    step = Optimization.step

    def noting(self: Optimization, batch: LearnerBatch) -> StepResult:
        found.append(batch)
        return step(self, batch)

    monkeypatch.setattr(Optimization, "step", noting)
    return found


def tensors(batch: LearnerBatch) -> list[Tensor]:
    masks = [] if batch.masks is None else list(batch.masks)
    return [batch.sample_id, *batch.views, *masks]


def assert_equal(left: LearnerBatch, right: LearnerBatch) -> None:
    assert left.epoch == right.epoch
    for mine, theirs in zip(tensors(left), tensors(right), strict=True):
        assert torch.equal(mine, theirs)


def test_an_epoch_is_what_a_run_is_served(
    served: list[LearnerBatch], clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(clipart_shards / "train", views={"size": 32, "executor": "device"})
    loop_for(recipe, tmp_path).run()  # two epochs of ten steps, and half of a third
    assert len(served) == 25
    mine = [batch for epoch in range(3) for batch in pipeline.batches(recipe, epoch)]
    for left, right in zip(mine, served, strict=False):
        assert_equal(left, right)
    assert len(mine) == 30


def test_one_s_own_loop_ends_at_the_weights_of_the_run(
    clipart_shards: Path, tmp_path: Path
) -> None:
    optimizer = {"kind": "sgd", "lr": 0.1, "lr_end": 0.1, "warmup": 0.0, "momentum": 0.0}
    recipe = recipe_for(
        clipart_shards / "train",
        train={"steps": 12, "optimizer": {**optimizer, "weight_decay": 0.0}},
    )
    loop = loop_for(recipe, tmp_path)
    loop.run()
    learner = pipeline.build_learner(recipe)
    plain = torch.optim.SGD(learner.parameters(), lr=0.1)
    done = 0
    for epoch in range(2):
        for batch in pipeline.batches(recipe, epoch):
            if done == 12:
                break
            result = learner(batch, progress=done / 12)
            plain.zero_grad()
            result.total.backward()
            plain.step()
            learner.after_step(batch, result, done / 12)
            done += 1
    assert same(dict(learner.encoder.state_dict()), dict(loop.learner.encoder.state_dict()))


def test_ranks_share_an_epoch(clipart_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_for(clipart_shards / "train")
    whole = list(pipeline.batches(recipe, 1))
    monkeypatch.setattr(collectives, "world_size", lambda: 2)
    shares = []
    for rank in range(2):
        monkeypatch.setattr(collectives, "rank", lambda rank=rank: rank)
        shares.append(list(pipeline.batches(recipe, 1)))
    assert [len(share) for share in shares] == [len(whole)] * 2
    for batch, left, right in zip(whole, *shares, strict=True):
        ids = torch.cat([left.sample_id, right.sample_id])
        assert torch.equal(batch.sample_id, ids)
        views = torch.cat([left.views[0], right.views[0]])
        assert torch.equal(batch.views[0], views)


def test_masks_come_with_the_views_of_an_objective_that_masks(
    served: list[LearnerBatch], clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = masked(clipart_shards / "train")
    loop_for(recipe, tmp_path).run()
    mine = list(pipeline.batches(recipe, 1))
    assert all(batch.masks is not None for batch in mine)
    for left, right in zip(mine, served[10:20], strict=True):
        assert_equal(left, right)


def test_shards_that_are_not_there_are_told_at_the_call(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path / "absent")
    with pytest.raises(pipeline.UserError, match="there is no manifest here"):
        pipeline.batches(recipe)


@pytest.mark.parametrize(
    ("train", "world", "message"),
    [
        ({"global_batch": 480}, 1, "the largest batch that fits is 240"),
        ({"global_batch": 18}, 1, "nearest: 16 or 20"),
        ({}, 3, "3 does not divide data.streams = 4; allowed: 1, 2, 4"),
    ],
)
def test_a_cut_that_a_run_would_refuse_is_refused(
    train: dict[str, int],
    world: int,
    message: str,
    clipart_shards: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = recipe_for(clipart_shards / "train", train=train)
    monkeypatch.setattr(collectives, "world_size", lambda: world)
    with pytest.raises(pipeline.UserError, match=message):
        pipeline.batches(recipe)
