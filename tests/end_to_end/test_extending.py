"""The page on extending: its examples are short, and train as two workers of a real run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from mlflow import MlflowClient

from pipeline.errors import UserError
from pipeline.pairs.base import Verdict
from pipeline.recipe import Recipe, recipe_class, recipe_of
from pipeline.recipe_file import draft_recipe
from pipeline.registry.journal import records
from pipeline.runs.checkpoint import CheckpointStore
from pipeline.runs.folder import RunFolder

Verb = Callable[..., CompletedProcess[str]]

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
NAMES = ("align_uniform", "top_loss")
EXAMPLES = dict(zip(NAMES, re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S), strict=True))
SECTIONS = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)[0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has the modules, and is where they are imported from."""
    for name, code in EXAMPLES.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def recipe(folder: Path, clipart_shards: Path) -> dict[str, Any]:
    return {
        "name": "run",
        "data": {"shards": str(clipart_shards / "train"), "streams": 4, "shuffle_window": 64},
        "views": {"size": 32},
        "encoder": {"name": "resnet10t", "args": {"channels": [8, 16, 16, 32], "stem_width": 8}},
        "train": {"epochs": 3, "global_batch": 24, "workers": 2, "log_every": 2, "device": "cpu"},
        "evaluate": None,
        "tracking": {"experiment": "extending", "storage": str(folder / "runs")},
        **SECTIONS,
    }


@pytest.mark.fast
@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_thirty_lines(name: str) -> None:
    assert len([line for line in EXAMPLES[name].splitlines() if line]) <= 30


def test_both_train_on_two_workers_and_make_a_report(
    folder: Path, recipe: dict[str, Any], jobs: Verb
) -> None:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    ended = jobs("pretrain", "recipe.yaml", "--json", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    run = RunFolder(str(folder / "runs" / "extending" / "run"))
    metrics = [r["metrics"] for r in records(run.journal) if r["kind"] == "metrics"]
    assert metrics[-1]["uniformity_loss"] < metrics[0]["uniformity_loss"]
    assert metrics[0]["miner_bad_share"] == 0
    assert any(0 < line["miner_bad_share"] < 1 for line in metrics)
    store = CheckpointStore(run.checkpoints, keep=1)
    newest = store.newest()
    assert newest is not None
    verdicts = {int(v) for state in store.read_streams(newest).values() for v in state["verdicts"]}
    assert verdicts == {Verdict.clean, Verdict.faulty}
    page = Path(result["report"]).read_text()
    assert "align_uniform" in page
    listed = result["bad_pairs"]
    rows = pq.read_table(listed["list"])
    assert listed["counts"] == {"noisy": 0, "faulty": len(rows)}
    assert 0 < len(rows) < 240
    assert f"Faulty: {len(rows)} of 240 samples" in page
    client = MlflowClient(tracking_uri=result["tracking_uri"])
    artifacts = {file.path for file in client.list_artifacts(result["run_id"])}
    assert {"report.html", "bad_pairs.parquet", "bad_pairs.png"} <= artifacts
    stored = client.download_artifacts(result["run_id"], "bad_pairs.parquet", str(folder))
    assert Path(stored).read_bytes() == Path(listed["list"]).read_bytes()
    again = jobs("report", run.location, "--json", cwd=folder)
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert (told["report"], told["bad_pairs"]) == (result["report"], listed)
    assert told["tracked"] is True
    stored = client.download_artifacts(result["run_id"], "report.html", str(folder))
    assert Path(stored).read_bytes() == Path(result["report"]).read_bytes()


@pytest.mark.fast
def test_the_resolved_recipe_is_enough_to_repeat_it(recipe: dict[str, Any]) -> None:
    found = recipe_of(recipe)
    assert isinstance(found, Recipe)
    assert found.objective.kind == "align_uniform"
    assert recipe_of(yaml.safe_load(found.to_yaml())) == found


@pytest.mark.fast
def test_an_objective_of_ones_own_may_be_part_of_a_composite(recipe: dict[str, Any]) -> None:
    parts = [{"objective": recipe["objective"]}, {"objective": {"kind": "simclr"}}]
    found = recipe_of({**recipe, "objective": {"kind": "composite", "parts": parts}})
    assert found.objective.names == ["align_uniform", "simclr"]  # type: ignore[attr-defined]


@pytest.mark.fast
def test_mistakes_in_extensions_are_told_with_all_others(
    folder: Path, recipe: dict[str, Any]
) -> None:
    recipe["objective"]["uniformityy"] = 1
    recipe["pairs"]["miner"]["bound"] = "much"
    recipe["trian"] = {}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    found = dict(draft_recipe(folder / "recipe.yaml").problems)
    assert found.keys() == {"objective.uniformityy", "pairs.miner.bound", "trian"}
    assert found["objective.uniformityy"] == "is not a setting; did you mean uniformity?"
    assert "'much' is wrong" in found["pairs.miner.bound"]


@pytest.mark.fast
def test_modules_that_cannot_be_had_are_told(folder: Path, recipe: dict[str, Any]) -> None:
    (folder / "broken.py").write_text("1 / 0")
    (folder / "empty.py").write_text("from pipeline.objectives.simclr import SimCLRConfig")
    recipe["extensions"] = ["no_such_module", "broken", "empty"]
    recipe |= {"objective": {"kind": "simclr"}, "pairs": None, "seed": -1}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    messages = [str(problem) for problem in draft_recipe(folder / "recipe.yaml").problems]
    assert [message.partition(":")[0] for message in messages] == ["extensions"] * 3 + ["seed"]
    assert "'no_such_module' cannot be imported: ModuleNotFoundError" in messages[0]
    assert "'broken' cannot be imported: ZeroDivisionError: division by zero" in messages[1]
    assert "'empty' has no subclass of ObjectiveConfig" in messages[2]


@pytest.mark.fast
def test_a_kind_that_is_taken_is_refused(folder: Path) -> None:
    code = EXAMPLES["align_uniform"].replace('Literal["align_uniform"]', 'Literal["simclr"]')
    (folder / "another_simclr.py").write_text(code)
    with pytest.raises(UserError, match=r"objective\.kind simclr: more than one class has it"):
        recipe_class(("another_simclr",))
