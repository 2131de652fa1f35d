"""Five runs that collapse and five that do not, on real pictures: the alarm tells them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.data.reading.ingest import inline
from pipeline.recipe import Recipe
from pipeline.registry.journal import records
from pipeline.runs.folder import RunFolder
from pipeline.training.loop import TrainingLoop

HEALTHY = {"kind": "simclr", "projector": [64]}
COLLAPSING = {"kind": "vicreg", "variance": 0.0, "projector": [64, 64]}


def journal_of(objective: dict[str, Any], seed: int, shards: Path, path: Path) -> list[Any]:
    recipe = Recipe.model_validate(
        {
            "seed": seed,
            "data": {"shards": f"{shards}/train", "streams": 4, "shuffle_window": 64},
            "views": {"size": 16},
            "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 16, 16], "stem_width": 8}},
            "objective": objective,
            "train": {
                "steps": 120,
                "global_batch": 48,
                "log_every": 2,
                "optimizer": {"lr": 4e-3},
                "checkpoint": {"every_steps": 60},
            },
            "evaluate": None,
        }
    )
    folder = RunFolder(str(path))
    TrainingLoop(recipe=recipe, folder=folder, device=torch.device("cpu"), ingest=inline).run()
    return list(records(folder.journal))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("objective", [HEALTHY, COLLAPSING], ids=["simclr", "vicreg-no-variance"])
def test_the_alarm_is_raised_by_collapse_alone(
    objective: dict[str, Any], seed: int, clipart_shards: Path, tmp_path: Path
) -> None:
    journal = journal_of(objective, seed, clipart_shards, tmp_path)
    alarms = [record for record in journal if record.get("event") == "collapse"]
    metrics = [record["metrics"] for record in journal if record["kind"] == "metrics"]
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    if objective is HEALTHY:
        assert alarms == []
    else:  # features may have lost rank before, and that is told too
        messages = [alarm["message"] for alarm in alarms]
        assert any("complete collapse: projection_deviation" in message for message in messages)
