"""When a training loop writes checkpoints, and which it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import UserError
from tests.training.loops import loop_for, metrics_of, recipe_for

pytestmark = pytest.mark.fast


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
