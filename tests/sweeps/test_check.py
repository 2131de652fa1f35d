"""Every mistake in a sweep is told, with its place and what is allowed, and all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.sweeps.spaces.check import checked_sweep
from tests.sweeps.sweeping import recipe_for

pytestmark = pytest.mark.fast

TEMPERATURE = {"objective.temperature": {"uniform": [0.1, 0.9]}}
PROJECTOR = {"objective.projector": {"choice": [[16], [32]]}}
Changed = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def changed(clipart_shards: Path, tmp_path: Path) -> Changed:
    """A recipe whose sweep has no mistake, with sections of `sweep`, and others, changed."""

    def change(*, sections: dict[str, Any] | None = None, **sweep: Any) -> dict[str, Any]:
        recipe = recipe_for(clipart_shards, tmp_path, **{"space": TEMPERATURE, **sweep})
        for name, section in (sections or {}).items():
            recipe[name] = {**recipe[name], **section}
        return recipe

    return change


def problems(recipe: dict[str, Any], *overrides: str) -> dict[str, str]:
    with pytest.raises(UserError) as error:
        checked_sweep(recipe, overrides)
    found = dict(error.value.problems)
    assert len(found) == len(error.value.problems), f"told twice: {error.value}"
    return found


def checked(recipe: dict[str, Any], *overrides: str) -> Recipe:
    """Without a mistake."""
    return checked_sweep(recipe, overrides)


def test_one_without_a_mistake_is_read_with_its_score_spelt_out(changed: Changed) -> None:
    recipe = checked(changed(), "sweep.trials=7")
    assert recipe.sweep is not None
    assert recipe.sweep.optimize == ("knn",)
    assert recipe.sweep.trials == 7
    both = changed(sections={"evaluate": {"probes": ["knn", "linear"]}})
    spelt = checked(both).sweep
    assert spelt is not None
    assert spelt.optimize == ("linear",)
    named = checked(changed(optimize=["lidar", "knn"])).sweep
    assert named is not None
    assert named.optimize == ("lidar", "knn")


def test_a_space_may_be_a_file_of_its_own(changed: Changed, tmp_path: Path) -> None:
    recipe = changed(trials=9)
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump({"space": PROJECTOR, "looks": 2}))
    sweep = checked_sweep(recipe, space=path).sweep
    assert sweep is not None
    assert (list(sweep.space), sweep.looks, sweep.trials) == ([*PROJECTOR], 2, 9)
    del recipe["sweep"]
    assert checked_sweep(recipe, space=path).sweep is not None
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match="is not a space"):
        checked_sweep(recipe, space=path)


@pytest.mark.parametrize("section", [None, "absent"])
def test_a_recipe_without_a_space_is_told_where_to_write_one(
    changed: Changed, section: str | None
) -> None:
    recipe = {**changed(), "sweep": None}
    if section == "absent":
        del recipe["sweep"]
    message = "the recipe has no such section; write one, or give --space FILE"
    assert problems(recipe) == {"sweep": message}
    assert problems(recipe, "train.global_batch=0").keys() == {"sweep", "train.global_batch"}


def test_all_mistakes_are_told_at_once(changed: Changed) -> None:
    space = {
        "objective.temprature": {"uniform": [0.1, 0.9]},
        "objective.temperature": {"uniform": [-0.5, 0.9]},
        "seed": {"choice": [0, 1]},
        "train.workers": {"choice": [1, 2]},
        "train.optimizer.lr": {"grid": [0.1, 0.2]},
        "views.size": {"choice": [16, 32], "when": {"objective.kind": "vicreg"}},
    }
    recipe = changed(space=space, optimize="lejepa_loss", sections={"data": {"streams": 0}})
    found = problems(recipe)
    assert found.keys() == {
        "data.streams",
        "sweep.optimize",
        *(f"sweep.space.{path}" for path in space),
    }


def test_a_mistake_of_the_recipe_itself_is_told_once(changed: Changed) -> None:
    recipe = changed(sections={"evaluate": {"test": "nowhere"}})
    assert all("sweep" not in where for where in problems(recipe))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"objective.temprature": {"uniform": [0.1, 0.9]}},
            "is not a setting; did you mean temperature?",
        ),
        (
            {"objectiv.temperature": {"uniform": [0.1, 0.9]}},
            "objectiv: is not a setting; did you mean objective?",
        ),
        (
            {"objective.sim": {"uniform": [0.1, 0.9]}},
            "is not a setting; allowed: kind, projector, temperature",
        ),
        ({"objective.temperature": {"uniform": [-0.5, 0.9]}}, "-0.5: "),
        ({"objective.temperature": {"choice": [0.1, "hot"]}}, "hot: "),
        ({"objective.projector": {"choice": [[16], [0]]}}, "[0]: "),
        ({"objective.parts.0.weight": {"choice": [1]}}, "objective.parts: is not a setting"),
        ({"views.size": {"integer": [0, 16]}}, "0: "),
        ({"train.global_batch": {"choice": [24, 100000]}}, "100000: "),
        ({"encoder.name": {"choice": ["resnet10t", "resnet10tt"]}}, "resnet10tt: "),
        ({"objective.kind": {"choice": ["simclr", "simclear"]}}, "simclear: "),
        ({"seed": {"choice": [0, 1]}}, "for several seeds of each: sweep.seeds"),
        ({"train.workers": {"choice": [1, 2]}}, "changes nothing of what a run computes"),
        ({"train.checkpoint.keep": {"choice": [1, 2]}}, "changes nothing of what a run computes"),
        ({"evaluate.probes": {"choice": [["knn"]]}}, "changes nothing of what a run computes"),
        ({"evaluate": {"choice": [None]}}, "changes nothing of what a run computes"),
        ({"tracking.experiment": {"choice": ["a"]}}, "changes nothing of what a run computes"),
        ({"extensions": {"choice": [["a"]]}}, "changes nothing of what a run computes"),
        ({"sweep.trials": {"choice": [1, 2]}}, "changes nothing of what a run computes"),
        ({"objective.temperature": {"grid": [0.1]}}, "with optuna allowed: choice"),
        ({"train.epochs": {"integer": [1, 3]}}, "asha compares trials of one length"),
        ({"train.steps": {"integer": [10, 30]}}, "asha compares trials of one length"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_dimension_that_cannot_be_is_told_at_its_place(
    changed: Changed, space: dict[str, Any], message: str
) -> None:
    found = problems(changed(space=space))
    assert found.keys() == {f"sweep.space.{path}" for path in space}
    text = found[f"sweep.space.{next(iter(space))}"]
    assert text.startswith(message) if "not a setting" in message else message in text


def test_lengths_may_be_searched_where_nothing_is_stopped(changed: Changed) -> None:
    checked(changed(space={"train.steps": {"integer": [12, 30]}}, scheduler=None))


def test_a_grid_lists_its_values(changed: Changed) -> None:
    found = problems(changed(searcher="grid"))
    assert found == {
        "sweep.space.objective.temperature": "searcher grid tries listed values; allowed: grid, "
        "choice"
    }
    listed = {"objective.temperature": {"grid": [0.1, 0.2]}}
    checked(changed(searcher="grid", space={**listed, **PROJECTOR}))
    found = problems(changed(searcher="random", space=listed))
    assert "with random allowed: choice" in found["sweep.space.objective.temperature"]


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"objective.kind": "vicreg"}, "never applies: objective.kind is simclr, not vicreg"),
        ({"objective.kind": ["vicreg", "byol"]}, "objective.kind is simclr, not vicreg or byol"),
        ({"objective.knd": "simclr"}, "when: the recipe has no objective.knd"),
        ({"views.size": 24}, "never applies: views.size is never 24 in this space"),
    ],
)
def test_a_dimension_that_never_applies_is_told(
    changed: Changed, when: dict[str, Any], message: str
) -> None:
    temperature = {"objective.temperature": {"uniform": [0.1, 0.9], "when": when}}
    space = {"views.size": {"choice": [16, 32]}, **temperature}
    found = problems(changed(space=space))
    assert found.keys() == {"sweep.space.objective.temperature"}
    assert message in found["sweep.space.objective.temperature"]


def test_values_are_checked_where_they_apply(changed: Changed) -> None:
    kinds = {"objective.kind": {"choice": ["simclr", "vicreg"]}}

    def space(when: dict[str, Any], low: float) -> dict[str, Any]:
        return {**kinds, "objective.invariance": {"uniform": [low, 25], "when": when}}

    checked(changed(space=space({"objective.kind": "vicreg"}, 1)))
    found = problems(changed(space=space({"objective.kind": "vicreg"}, -1)))
    assert "-1.0: " in found["sweep.space.objective.invariance"]
    found = problems(changed(space=space({}, 1)))
    message = "is not a setting; allowed: kind, projector, temperature"
    assert found == {"sweep.space.objective.invariance": message}


def test_a_circle_of_conditions_is_told(changed: Changed) -> None:
    space = {
        "views.size": {"choice": [16], "when": {"objective.temperature": 0.1}},
        "objective.temperature": {"choice": [0.1], "when": {"views.size": 16}},
    }
    message = "views.size, objective.temperature wait for each other"
    assert problems(changed(space=space)) == {"sweep.space": message}


def test_a_score_of_labels_needs_labels(changed: Changed) -> None:
    recipe = changed(optimize="knn")
    recipe["evaluate"] = {"snapshot_share": 1.0}
    found = problems(recipe)
    assert found.keys() == {"sweep.optimize"}
    assert "without labels: rankme, lidar, alpha_req, idest, lejepa_loss" in found["sweep.optimize"]
    del recipe["sweep"]["optimize"]
    assert "needs the labels of evaluate.train" in problems(recipe)["sweep.optimize"]
    checked(recipe, "sweep.optimize=rankme")


def test_labels_that_the_winner_is_told_on_are_asked_for(changed: Changed) -> None:
    recipe = changed()
    del recipe["evaluate"]["test"]
    found = problems(recipe)
    assert "give both train and test" in " ".join(found.values())


def test_the_loss_of_lejepa_is_a_score_of_it_alone(changed: Changed) -> None:
    message = "lejepa_loss is LeJEPA's own, not simclr's"
    assert problems(changed(optimize="lejepa_loss")) == {"sweep.optimize": message}
    rate = {"train.optimizer.lr": {"log_uniform": [1e-3, 1]}}
    recipe = changed(optimize="lejepa_loss", space=rate)
    recipe["objective"] = {"kind": "lejepa", "projector": [16]}
    checked(recipe)
    recipe["sweep"]["space"] = {"objective.kind": {"choice": ["lejepa", "vicreg"]}}
    assert problems(recipe) == {"sweep.optimize": "lejepa_loss is LeJEPA's own, not vicreg's"}


@pytest.mark.parametrize(
    ("sweep", "where", "message"),
    [
        ({"space": PROJECTOR}, "space.objective.projector", "changes the shape of weights"),
        ({"space": {"train.epochs": {"choice": [1, 2]}}}, "space.train.epochs", "of one length"),
        ({"space": {"views.size": {"choice": [16, 32]}}}, "space.views.size", "pbt changes"),
        ({"trials": 1}, "trials", "pbt needs a population; got 1, allowed: >= 2"),
        ({"optimize": ["knn", "lidar"]}, "optimize", "pbt follows one score"),
        (
            {"space": {"objective.kind": {"choice": ["simclr", "vicreg"]}}},
            "space.objective.kind",
            "pbt changes settings of a running training",
        ),
        (
            {
                "space": {
                    "objective.temperature": {"uniform": [0.1, 0.9], "when": {"views.size": 16}}
                }
            },
            "space.objective.temperature",
            "when has no meaning in a population",
        ),
    ],
    ids=["widths", "epochs", "views", "one trial", "two scores", "kind", "when"],
)
def test_what_a_population_cannot_do_is_told(
    changed: Changed, sweep: dict[str, Any], where: str, message: str
) -> None:
    found = problems(changed(scheduler="pbt", **sweep))
    assert f"sweep.{where}" in found
    assert message in found[f"sweep.{where}"]


def test_a_population_of_temperatures_and_rates_may_be(changed: Changed) -> None:
    rate = {"train.optimizer.lr": {"log_uniform": [1e-3, 1]}}
    checked(changed(scheduler="pbt", space={**TEMPERATURE, **rate}))


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"looks": 16}, "16 looks at a trial of 15 steps"),
        ({"looks": 1}, "asha has nothing to decide by; allowed: more looks"),
    ],
)
def test_looks_that_do_not_fit_the_length_are_told(
    changed: Changed, sweep: dict[str, Any], message: str
) -> None:
    found = problems(changed(**sweep))
    assert found.keys() == {"sweep.looks"}
    assert message in found["sweep.looks"]
    checked(changed(looks=1, scheduler=None))


def test_looks_of_too_few_samples_are_told(changed: Changed) -> None:
    found = problems(changed(sections={"evaluate": {"snapshot_share": 0.02}}, looks=9))
    assert found.keys() == {"sweep.looks"}
    assert "are too many for its length" in found["sweep.looks"]
