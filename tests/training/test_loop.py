"""The training loop of one rank, in this process, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.data.order.export import epoch_order
from pipeline.data.sources.manifest import load_manifest
from pipeline.learning.learner import LearnerBatch, StepResult, build_learner
from pipeline.learning.optimization import Optimization
from pipeline.planning.length import stream_plan
from pipeline.runs.folder import RunFolder
from pipeline.runs.trace import join_trace
from tests.training.loops import Crash, crashing_after, loop_for, metrics_of, recipe_for, same

pytestmark = pytest.mark.fast

PLAIN = {"kind": "simclr", "projector": [16]}
_SCHEDULED = {"start": 0.5, "end": 0.1}
_MOCO = {"kind": "moco", "temperature": _SCHEDULED, "queue": 48, "ema": {"start": 0.9}}


@pytest.mark.parametrize(
    ("objective", "micro_batch"),
    [
        (PLAIN, None),
        (PLAIN, 12),
        ({"kind": "simclr", "temperature": {"start": 0.3, "learnable": True}}, None),
        (_MOCO, None),
        ({"kind": "unigrad", "projector": [16, 8], "ema": {"start": 0.9, "end": 1.0}}, None),
        ({"kind": "amcl", "base": "moco", "queue": 48, "projector": [16, 8]}, None),
        (
            {
                "kind": "composite",
                "parts": [
                    {"objective": _MOCO},
                    {"objective": {"kind": "byol", "ema": 0.9, "projector": [16, 8]}},
                ],
            },
            None,
        ),
    ],
    ids=["simclr", "micro-batches", "tau learnt", "moco", "unigrad", "amcl", "composite"],
)
def test_a_run_that_crashed_ends_as_the_undisturbed_one(
    objective: dict[str, Any], micro_batch: int | None, clipart_shards: Path, tmp_path: Path
) -> None:
    """To the last bit of weights, twin, queue and correlation."""
    recipe = recipe_for(
        clipart_shards / "train",
        objective=objective,
        train={"micro_batch": micro_batch, "steps": 15},  # an epoch and a half
    )
    undisturbed = loop_for(recipe, tmp_path / "a")
    account = undisturbed.run()
    with pytest.raises(Crash):
        loop_for(recipe, tmp_path / "b", crashing_after(1)).run()
    resumed = loop_for(recipe, tmp_path / "b")
    assert resumed.run() == account
    assert same(undisturbed.learner.state_dict(), resumed.learner.state_dict())
    losses = [[m["metrics"]["loss"] for m in metrics_of(tmp_path / run)] for run in ("a", "b")]
    assert losses[0] == losses[1]
    assert account["planned"] == account["served"] - account["repeated"] + account["dropped"]


def test_an_arbiter_begins_with_its_epoch_and_outlives_a_crash(
    clipart_shards: Path, tmp_path: Path
) -> None:
    """An epoch has ten steps; nothing but the step says that it has begun."""
    recipe = recipe_for(
        clipart_shards / "train",
        objective={"kind": "simclr", "projector": [8]},
        pairs={"arbiter": {"kind": "uota", "start_epoch": 1}},
        train={"steps": 15},
    )
    undisturbed = loop_for(recipe, tmp_path / "a")
    undisturbed.run()
    with pytest.raises(Crash):
        loop_for(recipe, tmp_path / "b", crashing_after(1)).run()
    resumed = loop_for(recipe, tmp_path / "b")
    resumed.run()
    assert same(undisturbed.learner.state_dict(), resumed.learner.state_dict())
    for run in ("a", "b"):
        least = {
            m["step"]: m["metrics"]["arbiter_weight_least"] for m in metrics_of(tmp_path / run)
        }
        assert [step for step, weight in least.items() if weight < 1] == [15]


def test_the_trace_of_a_run_that_crashed_is_that_of_the_undisturbed_one(
    clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(clipart_shards / "train", train={"trace": "by the driver"})
    loop_for(recipe, tmp_path / "a").run()
    with pytest.raises(Crash):
        loop_for(recipe, tmp_path / "b", crashing_after(1)).run()
    loop_for(recipe, tmp_path / "b").run()
    starts = {path.name.partition("-part")[0] for path in (tmp_path / "b" / "trace").iterdir()}
    assert starts == {"start-000000", "start-000001"}
    traces = []
    for run in ("a", "b"):
        join_trace(RunFolder(str(tmp_path / run)).trace, tmp_path / f"{run}.parquet")
        traces.append(pq.read_table(tmp_path / f"{run}.parquet"))
    assert traces[0].equals(traces[1])
    assert traces[0]["step"].to_pylist() == [step for step in range(1, 26) for _ in range(24)]
    boundaries = load_manifest(clipart_shards / "train").boundaries()
    planned = [
        sample_id
        for epoch in range(3)
        for table in epoch_order(stream_plan(recipe), boundaries, epoch=epoch)
        for sample_id in table["sample_id"].to_pylist()
    ]
    assert traces[0]["sample_id"].to_pylist() == planned[: 25 * 24]


def test_a_longer_run_goes_on_where_the_shorter_one_ended(
    clipart_shards: Path, tmp_path: Path
) -> None:
    loop_for(recipe_for(clipart_shards / "train", train={"steps": 13}), tmp_path / "run").run()
    account = loop_for(recipe_for(clipart_shards / "train"), tmp_path / "run").run()
    assert account["served"] == 25 * 24
    assert [m["step"] for m in metrics_of(tmp_path / "run")] == [5, 10, 13, 15, 20, 25]


def test_both_executors_train_on_the_same_views_in_every_epoch(
    clipart_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    step = Optimization.step

    def recording(self: Optimization, batch: LearnerBatch) -> StepResult:
        seen.append(batch.views[0].int())
        return step(self, batch)

    monkeypatch.setattr(Optimization, "step", recording)
    for executor in ("cpu", "device"):
        views = {"size": 32, "blur": 0.5, "executor": executor}
        recipe = recipe_for(clipart_shards / "train", views=views, seed=3, train={"steps": 12})
        loop_for(recipe, tmp_path / executor).run()
    assert len(seen) == 24
    for by_cpu, by_device in zip(seen[:12], seen[12:], strict=True):
        assert (by_cpu - by_device).abs().float().mean() < 0.1


def test_a_loss_falls_on_real_pictures(clipart_shards: Path, tmp_path: Path) -> None:
    recipe = recipe_for(clipart_shards / "train", train={"steps": 40})
    loop_for(recipe, tmp_path / "run").run()
    losses = [m["metrics"]["loss"] for m in metrics_of(tmp_path / "run")]
    assert losses[-1] < losses[0]


def test_a_run_starts_from_the_weights_it_is_given(clipart_shards: Path, tmp_path: Path) -> None:
    recipe = recipe_for(clipart_shards / "train")
    encoder = build_learner(recipe.model_copy(update={"seed": 5})).encoder
    other = {name: value.contiguous() for name, value in encoder.state_dict().items()}
    (tmp_path / "run").mkdir()
    save_file(other, tmp_path / "run" / "init.safetensors")
    assert same(loop_for(recipe, tmp_path / "run").learner.encoder.state_dict(), other)


def test_one_step_in_plain_torch_changes_the_weights_and_leaves_settling_no_trace() -> None:
    recipe = recipe_for(Path("unused"))
    optimization = Optimization(
        build_learner(recipe),
        config=recipe.train,
        seed=0,
        total_steps=10,
        device=torch.device("cpu"),
    )
    before = {k: v.clone() for k, v in optimization.learner.state_dict().items()}
    views = (torch.randint(0, 256, (6, 2, 32, 32, 3), dtype=torch.uint8),)
    batch = LearnerBatch(sample_id=torch.arange(6), views=views)
    optimization.settle(batch)
    assert same(before, optimization.learner.state_dict())
    result = optimization.step(batch)
    assert result.losses.loss.shape == (2, 6)
    assert not same(before, optimization.learner.state_dict())
