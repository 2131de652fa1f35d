"""The training loop of one rank, in this process, without Ray."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.data import ingest
from pipeline.data.index import load_index
from pipeline.data.manifest import load_manifest
from pipeline.data.order import epoch_order
from pipeline.data.slice_reader import SliceReader
from pipeline.data.streams import Slice
from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.training.learner import LearnerBatch, StepResult, build_learner
from pipeline.training.length import stream_plan
from pipeline.training.loop import TrainingLoop
from pipeline.training.optimization import Optimization
from pipeline.training.run_folder import RunFolder
from pipeline.training.trace import join_trace

pytestmark = pytest.mark.fast

CPU = torch.device("cpu")


def recipe_for(shards: Path, **settings: Any) -> Recipe:
    train = {
        "steps": 25,
        "global_batch": 24,
        "log_every": 5,
        "checkpoint": {"every_steps": 4},
        **settings.pop("train", {}),
    }
    return Recipe.model_validate(
        {
            "data": {"shards": str(shards), "streams": 4, "shuffle_window": 64},
            "views": settings.pop("views", {"size": 32}),
            "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
            "objective": {"kind": "simclr", "projector": [16]},
            "train": train,
            **settings,
        }
    )


def loop_for(
    recipe: Recipe,
    path: Path,
    read: ingest.Ingest = ingest.inline,
    notice: Callable[[], bool] | None = None,
) -> TrainingLoop:
    path.mkdir(exist_ok=True)
    return TrainingLoop(
        recipe=recipe, folder=RunFolder(str(path)), device=CPU, ingest=read, notice=notice
    )


class Crash(Exception):
    """Stands for a machine that goes away."""


def crashing_after(count: int) -> ingest.Ingest:
    def read(reader: SliceReader, slices: Iterator[Slice], *, cpus: float) -> Iterator[pa.Table]:
        for number, table in enumerate(ingest.inline(reader, slices, cpus=cpus)):
            if number == count:
                raise Crash
            yield table

    return read


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def metrics_of(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (path / "journal.jsonl").open()]
    return [line for line in lines if line["kind"] == "metrics"]


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
        clipart_shards / "train", objective=objective, train={"micro_batch": micro_batch}
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


def damaged_copy(shards: Path, folder: Path, count: int) -> Path:
    """A copy of the shards with `count` images of the first shard overwritten."""
    shutil.copytree(shards, folder)
    shard = load_manifest(folder).shards[0]
    index = load_index(str(folder / shard.index_path))
    with (folder / shard.path).open("r+b") as file:
        for row in range(count):
            file.seek(int(index.offset[row]))
            file.write(b"\0" * 16)
    return folder


def test_bad_samples_within_the_budget_are_counted_and_listed(
    clipart_shards: Path, tmp_path: Path
) -> None:
    shards = damaged_copy(clipart_shards / "train", tmp_path / "shards", 3)
    recipe = recipe_for(shards, train={"steps": 10})
    generous = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"max_bad_fraction": 0.05})}
    )
    account = loop_for(generous, tmp_path / "run").run()
    ledger = pq.read_table(tmp_path / "run" / "ledger.parquet").to_pylist()
    assert account["quarantined"] == len(ledger) == 3
    assert {row["sample_id"] for row in ledger} == {0, 1, 2}
    planned = account["served"] - account["repeated"] + account["quarantined"] + account["dropped"]
    assert account["planned"] == planned


def test_more_bad_samples_than_the_budget_stop_the_run(
    clipart_shards: Path, tmp_path: Path
) -> None:
    shards = damaged_copy(clipart_shards / "train", tmp_path / "shards", 20)
    with pytest.raises(UserError, match=r"data.max_bad_fraction: 0.01 of 240 samples"):
        loop_for(recipe_for(shards), tmp_path / "run").run()
    assert pq.read_table(tmp_path / "run" / "ledger.parquet").num_rows > 2


def test_a_loss_that_is_not_finite_stops_the_run_at_its_first_step_and_samples(
    clipart_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(
        clipart_shards / "train",
        train={
            "optimizer": {"kind": "sgd", "lr": 1e5, "warmup": 0.0},
            "log_every": 10,
            "checkpoint": {"every_steps": 1, "keep": 100},
        },
    )
    finite: list[bool] = []
    step = Optimization.step

    def recording(self: Optimization, batch: LearnerBatch) -> StepResult:
        result = step(self, batch)
        gradients = [w.grad for w in self.learner.parameters() if w.grad is not None]
        finite.append(
            bool(result.total.isfinite()) and all(bool(g.isfinite().all()) for g in gradients)
        )
        return result

    monkeypatch.setattr(Optimization, "step", recording)
    with pytest.raises(UserError, match="the loss or its gradient is not finite") as caught:
        loop_for(recipe, tmp_path / "run").run()
    first = finite.index(False) + 1
    boundaries = load_manifest(clipart_shards / "train").boundaries()
    plan = stream_plan(recipe)
    epoch, within = divmod(first - 1, plan.steps_per_epoch)  # roundings decide which step it is
    (order,) = epoch_order(plan, boundaries, epoch=epoch)
    ids = order["sample_id"].to_pylist()[within * 24 : (within + 1) * 24]
    lines = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").open()]
    (found,) = [line for line in lines if line.get("event") == "not finite"]
    assert (found["step"], found["sample_ids"]) == (first, ids)
    (problem,) = caught.value.problems
    assert f"at step {first}, on the samples {ids[0]}, {ids[1]}" in problem.message
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [f"step-{number:010d}" for number in range(1, first)]


def test_checkpoints_by_the_clock_are_written_at_journal_lines(
    clipart_shards: Path, tmp_path: Path
) -> None:
    by_clock = {"every_minutes": 1e-9, "keep": 100}
    recipe = recipe_for(clipart_shards / "train", train={"checkpoint": by_clock})
    loop_for(recipe, tmp_path / "run").run()
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [f"step-{number:010d}" for number in (5, 10, 15, 20, 25)]
    rarely = {"every_minutes": 1e9, "every_steps": 11, "keep": 100}
    recipe = recipe_for(clipart_shards / "train", train={"checkpoint": rarely})
    loop_for(recipe, tmp_path / "other").run()
    kept = sorted(path.name for path in (tmp_path / "other" / "checkpoints").iterdir())
    assert kept == [f"step-{number:010d}" for number in (11, 22, 25)]


def test_an_announced_loss_leads_to_one_checkpoint(clipart_shards: Path, tmp_path: Path) -> None:
    answers = [False, True, False, False, False]
    never = {"every_steps": 1_000_000, "keep": 100}
    recipe = recipe_for(clipart_shards / "train", train={"checkpoint": never})
    loop_for(recipe, tmp_path / "run", notice=lambda: answers.pop(0)).run()
    assert answers == []
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [f"step-{number:010d}" for number in (10, 25)]
    lines = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").open()]
    assert [line["step"] for line in lines if line.get("event") == "preemption"] == [10]


def test_one_step_in_plain_torch_changes_the_weights_and_leaves_settling_no_trace() -> None:
    recipe = recipe_for(Path("unused"))
    optimization = Optimization(
        build_learner(recipe), config=recipe.train, seed=0, total_steps=10, device=CPU
    )
    before = {k: v.clone() for k, v in optimization.learner.state_dict().items()}
    views = (torch.randint(0, 256, (6, 2, 32, 32, 3), dtype=torch.uint8),)
    batch = LearnerBatch(sample_id=torch.arange(6), views=views)
    optimization.settle(batch)
    assert same(before, optimization.learner.state_dict())
    result = optimization.step(batch)
    assert result.losses.loss.shape == (2, 6)
    assert not same(before, optimization.learner.state_dict())


def test_the_best_checkpoint_is_by_a_metric_that_the_journal_has(
    clipart_shards: Path, tmp_path: Path
) -> None:
    best = {"metric": "loss", "mode": "min"}
    recipe = recipe_for(
        clipart_shards / "train", train={"checkpoint": {"every_steps": 5, "keep": 1, "best": best}}
    )
    loop_for(recipe, tmp_path / "run").run()
    losses = {m["step"]: m["metrics"]["loss"] for m in metrics_of(tmp_path / "run")}
    kept = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    lowest = min(losses, key=lambda step: losses[step])
    assert kept == {f"step-{step:010d}" for step in (lowest, 25)}
    best["metric"] = "knn"
    recipe = recipe_for(
        clipart_shards / "train", train={"checkpoint": {"every_steps": 5, "best": best}}
    )
    with pytest.raises(UserError, match=r"best.metric: 'knn'; the journal has .*, loss, "):
        loop_for(recipe, tmp_path / "other").run()
