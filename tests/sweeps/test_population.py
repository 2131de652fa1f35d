"""Population based training through a real Ray: settings of running trainings change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import ray

import pipeline
from pipeline.registry.journal import records
from pipeline.sweeps.driver import SweepResult
from tests.sweeps.sweeping import children, folder_in, ledger_events, recipe_for

pytestmark = pytest.mark.usefixtures("local_ray")

STEPS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("population")


@pytest.fixture(scope="module")
def done(folder: Path, clipart_shards: Path, local_ray: None) -> SweepResult:
    """A population of two, of which the worse goes on from the better at every look."""
    recipe = recipe_for(
        clipart_shards,
        folder,
        space={"objective.temperature": {"uniform": [0.1, 0.9]}},
        scheduler={"kind": "pbt", "quantile": 0.5, "synchronous": True},
        searcher="random",
        trials=2,
        concurrent=2,
        looks=2,
    )
    return pipeline.sweep(recipe, [f"train.steps={STEPS}"])


@pytest.fixture(scope="module")
def exploits(folder: Path, done: SweepResult) -> list[dict[str, Any]]:
    found = ledger_events(folder_in(folder), "exploited")
    assert found, "no member ever went on from the other"
    return found


def test_the_running_temperature_is_changed(folder: Path, exploits: list[dict[str, Any]]) -> None:
    for exploit in exploits:
        journal = folder_in(folder).run(exploit["trial"], exploit["generation"], 0).journal
        temperatures = {
            r["metrics"]["temperature"] for r in records(journal) if r["kind"] == "metrics"
        }
        if temperatures:  # else the next exploit came before its first step
            (temperature,) = temperatures
            wanted = exploit["params"]["objective.temperature"]
            assert temperature == pytest.approx(wanted, rel=1e-6)
            assert 0.1 <= temperature <= 0.9


def test_a_member_goes_on_from_the_donors_checkpoint(
    folder: Path, exploits: list[dict[str, Any]]
) -> None:
    sweep = folder_in(folder)
    for exploit in exploits:
        own = sweep.run(exploit["trial"], exploit["generation"], 0)
        starts = [r["step"] for r in records(own.journal) if r.get("event") == "training"]
        assert starts[:1] in ([], [exploit["step"]])
        assert exploit["donor"] != exploit["trial"]
        lineage = json.loads(
            Path(
                sweep.generation(exploit["trial"], exploit["generation"]), "lineage.json"
            ).read_text()
        )
        assert {name: lineage[name] for name in ("donor", "step", "params")} == {
            name: exploit[name] for name in ("donor", "step", "params")
        }


def test_the_population_ends_with_a_winner_and_leaves_nothing(
    folder: Path, done: SweepResult
) -> None:
    assert done.figures["finished"] == done.figures["trials"] == 2
    parent, trials = children(folder)
    assert parent.info.status == "FINISHED"
    assert {run.info.status for run in trials.values()} == {"FINISHED"}
    table = ray.util.placement_group_table().values()
    assert {group["state"] for group in table} <= {"REMOVED"}
