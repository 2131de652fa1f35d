"""A sweep through a real Ray: its budget, its failures, its winner, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow import MlflowClient

import pipeline
from pipeline.errors import InterruptedRunError
from pipeline.evaluation.config import OnCollapse
from pipeline.registry.journal import records
from pipeline.sweeps.driver import SweepResult
from tests.sweeps.sweeping import (
    BROKEN_RATE,
    children,
    folder_in,
    ledger_events,
    recipe_for,
    starts_of,
)

pytestmark = pytest.mark.usefixtures("local_ray")

GRID = {
    "space": {
        "train.optimizer.lr": {"grid": [1e-3, BROKEN_RATE]},
        "objective.temperature": {"grid": [0.2, 0.5]},
    },
    "searcher": "grid",
    "scheduler": None,
    "concurrent": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def halted(folder: Path, clipart_shards: Path, local_ray: None) -> dict[str, Any]:
    """The recipe of a sweep whose hours were over before its first trials had ended."""
    recipe = recipe_for(clipart_shards, folder, **GRID, trials=2, hours=1e-5)
    with pytest.raises(InterruptedRunError, match="no trial has finished"):
        pipeline.sweep(recipe)
    return recipe


@pytest.fixture(scope="module")
def finished(folder: Path, halted: dict[str, Any]) -> SweepResult:
    """The same sweep with time, and two of its four trials."""
    return pipeline.sweep(halted, ["sweep.hours=null"])


@pytest.fixture(scope="module")
def grown(folder: Path, halted: dict[str, Any], finished: SweepResult) -> SweepResult:
    """The same sweep with the other two, which fail."""
    return pipeline.sweep(halted, ["sweep.hours=null", "sweep.trials=4"])


def test_trials_halt_with_a_checkpoint_when_the_hours_are_over(
    folder: Path, halted: dict[str, Any]
) -> None:
    states = [record["state"] for record in ledger_events(folder_in(folder), "ended")]
    assert set(states) <= {"halted"}
    parent, trials = children(folder)
    assert parent.info.status == "KILLED"
    assert {run.info.status for run in trials.values()} <= {"KILLED"}


def test_trials_that_were_halted_go_on_where_they_were(folder: Path, finished: SweepResult) -> None:
    sweep = folder_in(folder)
    assert [record["trial"] for record in ledger_events(sweep, "started")][:2] == [0, 1]
    for number in {record["trial"] for record in ledger_events(sweep, "resumed")}:
        starts = starts_of(sweep, number)
        assert len(starts) == 1 or 0 < starts[1] < 15
        steps = [r["step"] for r in records(sweep.run(number, 0, 0).journal) if "metrics" in r]
        assert sorted({*steps}) == list(range(1, 16))
    assert finished.figures["trials"] == finished.figures["finished"] == 2


def test_the_winner_was_chosen_on_validation_and_is_told_on_test(
    folder: Path, finished: SweepResult, halted: dict[str, Any]
) -> None:
    sweep, best = folder_in(folder), finished.best
    ended = ledger_events(sweep, "ended")
    scores = {r["trial"]: r["final"]["eval/knn"] for r in ended if r["state"] == "finished"}
    assert best["validation"]["knn"] == max(scores.values()) == scores[best["trial"]]
    assert best["params"]["train.optimizer.lr"] == 1e-3
    again = pipeline.load_recipe(f"{Path(best['encoder']).parent}/recipe.yaml")
    assert again.evaluate.test == halted["evaluate"]["test"]
    assert again.evaluate.validation is None
    assert again.objective.model_dump()["temperature"] == best["params"]["objective.temperature"]
    assert best["test"]["knn"] >= 0
    for number in scores:
        trial = pipeline.load_recipe(sweep.run(number, 0, 0).recipe)
        assert trial.evaluate.validation == 0.2
        assert trial.evaluate.on_collapse == OnCollapse.stop
        assert trial.seed == again.seed  # and so the same order of data


def test_the_winner_is_registered_as_candidate(folder: Path, finished: SweepResult) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    model = finished.best["model"]
    version = client.get_model_version_by_alias(model["name"], "candidate")
    assert int(version.version) == model["version"]
    assert version.run_id == finished.best["run_id"]


def test_a_finished_sweep_is_not_run_again(halted: dict[str, Any], finished: SweepResult) -> None:
    again = pipeline.sweep(halted, ["sweep.hours=null"])
    assert again.already_finished
    assert again.figures == finished.figures


def test_trials_that_fail_are_named_and_stop_nothing(folder: Path, grown: SweepResult) -> None:
    assert (grown.figures["finished"], grown.figures["failed"]) == (2, 2)
    sweep = folder_in(folder)
    for failure in grown.figures["failures"]:
        assert "not finite" in failure["reason"]
        assert failure["folder"] == sweep.trial(failure["trial"])
        assert Path(failure["folder"]).is_dir()
    assert len(ledger_events(sweep, "started")) == 4


def test_mlflow_has_every_trial_once_and_ended(folder: Path, grown: SweepResult) -> None:
    parent, trials = children(folder)
    assert parent.info.status == "FINISHED"
    assert {number: run.info.status for number, run in trials.items()} == {
        0: "FINISHED",
        1: "FINISHED",
        2: "FAILED",
        3: "FAILED",
    }
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    losses = client.get_metric_history(trials[0].info.run_id, "loss")
    assert sorted(point.step for point in losses) == list(range(1, 16))
    names = [file.path for file in client.list_artifacts(parent.info.run_id)]
    assert "sweep.html" in names


def test_trials_that_ended_leave_no_checkpoints(folder: Path, grown: SweepResult) -> None:
    sweep = Path(folder_in(folder).location)
    assert not list(sweep.rglob("step-*"))
    assert not (sweep / "tune").exists()
    assert (Path(grown.best["encoder"]) / "encoder.safetensors").exists()


def test_nothing_is_left_on_ray(grown: SweepResult) -> None:
    table = ray.util.placement_group_table().values()
    assert {group["state"] for group in table} <= {"REMOVED"}
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]
