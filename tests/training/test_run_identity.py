"""What `pretrain` makes of a run that is there, as its recipe or its data change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from mlflow import MlflowClient

import pipeline
from pipeline.data.reading.ingest import inline
from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.runs.folder import RunFolder, with_own_exclusion
from pipeline.training import driver
from pipeline.training.driver import Result
from pipeline.training.loop import TrainingLoop
from tests.training.loops import serve_by_the_plain_loop

Pretrain = Callable[..., Result]
Verb = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def folder(clipart_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards, which may be appended to, and a recipe of six steps."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(clipart_shards / "train", folder / "shards")
    recipe = {
        "name": "mine",
        "data": {
            "shards": str(folder / "shards"),
            "streams": 4,
            "shuffle_window": 64,
        },
        "views": {"size": 32},
        "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
        "objective": {"kind": "simclr", "projector": [16]},
        "train": {
            "steps": 6,
            "global_batch": 24,
            "log_every": 1,
            "device": "cpu",
            "trace": str(folder / "trace.parquet"),
        },
        "tracking": {
            "experiment": "identity",
            "storage": str(folder / "runs"),
            "uri": f"sqlite:///{folder}/mlflow.db",
        },
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def pretrain(folder: Path) -> Pretrain:
    """Runs the recipe, with settings changed."""
    return lambda *settings, **options: pipeline.pretrain(
        folder / "recipe.yaml", settings, **options
    )


@pytest.fixture(scope="module")
def finished(folder: Path, pretrain: Pretrain) -> dict[str, Any]:
    """The result of the run, which is finished; what it was served is in `served.parquet`."""
    done = pretrain()
    assert not done.already_finished
    shutil.copy(folder / "trace.parquet", folder / "served.parquet")
    return done.figures


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs train in this process; how they do is no matter to the test."""

    def train_here(
        recipe: Recipe, folder: RunFolder, *, gpu: bool, verbose: bool
    ) -> dict[str, Any]:
        loop = TrainingLoop(
            recipe=with_own_exclusion(recipe, folder),
            folder=folder,
            device=torch.device("cpu"),
            ingest=inline,
        )
        return {"samples": loop.run(), "probes": {}, "intervals": {}}

    monkeypatch.setattr(driver, "train_on_ray", train_here)


def refused(pretrain: Pretrain, *settings: str) -> list[str]:
    with pytest.raises(UserError) as told:
        pretrain(*settings)
    return [str(problem) for problem in told.value.problems]


def steps_of(result: dict[str, Any]) -> list[int]:
    lines = Path(result["folder"], "journal.jsonl").read_text().splitlines()
    return [r["step"] for r in map(json.loads, lines) if r["kind"] == "metrics"]


def mlflow_runs(result: dict[str, Any]) -> set[str]:
    client = MlflowClient(tracking_uri=result["tracking_uri"])
    experiment = client.get_experiment_by_name("identity")
    return {run.info.run_id for run in client.search_runs([experiment.experiment_id])}


def test_a_finished_run_is_not_run_again(finished: dict[str, Any], pretrain: Pretrain) -> None:
    again = pretrain("train.log_every=2", "train.workers=2")
    assert again.already_finished
    assert again.figures == finished


def test_one_worker_is_served_what_the_plain_loop_serves(
    finished: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    """By Ray Data, which reads for one worker otherwise than for several."""
    recipe = Recipe.model_validate(yaml.safe_load((folder / "recipe.yaml").read_text()))
    assert (recipe.data.ingest, recipe.train.workers) == ("ray", (1, 1))
    serve_by_the_plain_loop(recipe, tmp_path)
    served = pq.read_table(folder / "served.parquet")
    assert len(served) == 6 * 24
    assert served.equals(pq.read_table(tmp_path / "trace.parquet"))


def test_what_a_finished_run_does_not_heed_is_told(
    finished: dict[str, Any], pretrain: Pretrain, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain("train.log_every=2")
    assert capsys.readouterr().err == ""
    again = pretrain("encoder.features=pooled", "evaluate.max_samples=50")
    assert again.figures == finished
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in told] == ["encoder.features", "evaluate"]
    assert all(f"`jobs evaluate {finished['folder']}/encoder`" in line for line in told)


def test_another_learning_rate_is_refused_with_both_values(
    finished: dict[str, Any], pretrain: Pretrain
) -> None:
    assert refused(pretrain, "train.optimizer.lr=0.5") == [
        "train.optimizer.lr: the run has 0.001, the recipe says 0.5; a run cannot change",
        "run: take another name=…, or --fresh to start anew",
    ]
    assert pretrain().figures == finished


def test_a_longer_run_goes_on_in_the_same_mlflow_run_and_cannot_shrink_again(
    finished: dict[str, Any], pretrain: Pretrain
) -> None:
    longer = pretrain("train.steps=9").figures
    assert longer["run_id"] == finished["run_id"]
    assert longer["folder"] == finished["folder"]
    assert longer["encoder_sha256"] != finished["encoder_sha256"]
    assert steps_of(longer) == list(range(1, 10))
    told = refused(pretrain)[0]
    assert told == "train.steps: the run has 9, the recipe says 6; a run cannot change"


@pytest.mark.usefixtures("without_ray")
def test_other_excluded_samples_are_refused_and_the_file_may_go(
    folder: Path, pretrain: Pretrain
) -> None:
    bad = folder / "bad.txt"
    bad.write_text("1\n2\n3")
    run = ("name=without", "train.steps=2", "tracking.experiment=excluding")
    settings = (*run, f"data.exclude={bad}")
    first = pretrain(*settings).figures
    bad.write_text("1\n2")
    told = refused(pretrain, *settings)
    assert told[0].startswith("data.exclude: the run leaves out other samples: those of sha256")
    assert refused(pretrain, *run)[0].endswith("a run cannot change")
    bad.unlink()
    own = f"data.exclude={first['folder']}/excluded.parquet"
    again = pretrain(*run, own)
    assert again.already_finished
    assert again.figures == first


@pytest.mark.usefixtures("without_ray")
def test_fresh_starts_another_run_and_leaves_the_first(
    finished: dict[str, Any], pretrain: Pretrain
) -> None:
    fresh = pretrain("train.optimizer.lr=0.5", "train.steps=2", fresh=True).figures
    assert fresh["run"] == "mine-2"
    assert steps_of(fresh) == [1, 2]
    assert {fresh["run_id"], finished["run_id"]} == mlflow_runs(finished)
    assert steps_of(finished)[:6] == list(range(1, 7))


def test_appended_shards_are_other_data(
    finished: dict[str, Any], folder: Path, clipart: Path, jobs: Verb, jobs_here: Verb
) -> None:
    added = jobs_here("shard", clipart, "shards", "--append", cwd=folder)
    assert added.returncode == 0, added.stderr
    refused = jobs("pretrain", "recipe.yaml", "train.steps=9", "--json", cwd=folder)
    assert refused.returncode == 2, refused.stderr
    data, remedy = json.loads(refused.stdout)["errors"]
    assert data["where"] == "data.shards"
    assert data["message"].startswith("the data has grown or changed: its fingerprint was")
    assert remedy["message"] == "take another name=…, or --fresh to start anew"
