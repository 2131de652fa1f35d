"""The recipes that come with the project have no mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.planning.check import checked_recipe
from pipeline.planning.plan import plan_recipe

pytestmark = pytest.mark.fast

RECIPES = sorted((Path(__file__).parents[2] / "jobs" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_it_can_be_planned(
    path: Path, clipart_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shards = clipart_shards / "train"
    overrides = [f"data.shards={shards}", f"evaluate.train={shards}", f"evaluate.test={shards}"]
    recipe = checked_recipe(path, [*overrides, f"tracking.storage={tmp_path}"])
    assert plan_recipe(recipe).steps > 0
