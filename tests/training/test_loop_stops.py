"""What a training loop does about bad samples and values that are not finite."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.data.order.export import epoch_order
from pipeline.data.sources.index import load_index
from pipeline.data.sources.manifest import load_manifest
from pipeline.errors import UserError
from pipeline.learning.learner import LearnerBatch, StepResult
from pipeline.learning.optimization import Optimization
from pipeline.planning.length import stream_plan
from tests.training.loops import loop_for, recipe_for

pytestmark = pytest.mark.fast


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
