"""The search spaces that come with the project have no mistakes, and every objective has one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pipeline.objectives.configs.composite import CompositeConfig
from pipeline.objectives.configs.single import SingleObjectiveConfig
from pipeline.planning.check import find_problems
from pipeline.recipe import Recipe
from pipeline.recipe_file import load_recipe
from pipeline.section import kind_of
from pipeline.sweeps.spaces.check import checked_sweep
from pipeline.sweeps.spaces.config import SweepConfig
from pipeline.sweeps.spaces.space import drawn, fixed_values, own_configuration, recipe_with
from tests.encoders.vit import SECTION as VIT
from tests.objectives.cases import MASKED, OBJECTIVES

JOBS = Path(__file__).parents[2] / "jobs"
SPACES = sorted((JOBS / "spaces").glob("*.yaml"))
KINDS = [
    kind_of(config) for config in (*get_args(get_args(SingleObjectiveConfig)[0]), CompositeConfig)
]
OF_NO_KIND = {"objectives": "simclr", "pbt": "simclr"}
"""Spaces that are named otherwise, and an objective to begin with."""
DRAWS = 20

HEAD = {"projector": [16, 8]}
SMALL: dict[str, dict[str, Any]] = {
    **{kind: section for kind, section in {**OBJECTIVES, **MASKED}.items() if kind in KINDS},
    "moco": {"kind": "moco", "queue": 64, **HEAD},
    "amcl": {"kind": "amcl", "heads": 2, "hidden": 5, **HEAD},
    "composite": {
        "kind": "composite",
        "parts": [
            {"objective": {"kind": "simclr", **HEAD}},
            {"weight": 0.1, "objective": {"kind": "vicreg", **HEAD}},
        ],
    },
}
"""A section of each kind that is built at once."""
PARTS = [{"objective": {"kind": "simclr"}}, {"weight": 0.1, "objective": {"kind": "vicreg"}}]
DEFAULT: dict[str, dict[str, Any]] = {
    **{kind: {"kind": kind} for kind in KINDS},
    "composite": {"kind": "composite", "parts": PARTS},
}
"""A section of each kind that says no more than it must."""
each_space = pytest.mark.parametrize("path", SPACES, ids=[path.stem for path in SPACES])


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def kind_for(path: Path) -> str:
    """Of the recipes that a space is for."""
    return OF_NO_KIND.get(path.stem, path.stem)


def settings(
    objective: dict[str, Any], shards: Path, storage: Path | str = ".ssl"
) -> dict[str, Any]:
    """Of a recipe with this objective."""
    masked = objective["kind"] in MASKED
    resnet = {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}}
    return {
        "data": {"shards": f"{shards}/train", "streams": 4},
        "views": {"size": 32, "count": 1, "masks": {}} if masked else {"size": 32},
        "encoder": VIT if masked else resnet,
        "objective": objective,
        "train": {"epochs": 60, "global_batch": 32},
        "evaluate": {"train": f"{shards}/train", "test": f"{shards}/test"},
        "tracking": {"storage": str(storage)},
    }


def space_in(path: Path) -> SweepConfig:
    return SweepConfig.model_validate(yaml.safe_load(path.read_text()))


def draws_of(recipe: Recipe, config: SweepConfig, *, seed: str) -> list[dict[str, Any]]:
    """Some configurations, drawn at random."""
    chance = random.Random(seed)
    fixed = fixed_values(recipe, config.space)
    return [
        drawn(config.space, fixed, lambda _, dimension: dimension.at(chance.random()))
        for _ in range(DRAWS)
    ]


@pytest.mark.fast
def test_every_objective_has_a_space() -> None:
    assert {path.stem for path in SPACES} == {*KINDS, *OF_NO_KIND}


@each_space
def test_a_sweep_of_it_can_begin(path: Path, clipart_shards: Path, tmp_path: Path) -> None:
    recipe = settings(SMALL[kind_for(path)], clipart_shards, tmp_path)
    checked = checked_sweep(recipe, space=path)
    assert checked.sweep is not None
    assert checked.sweep.space == space_in(path).space


@pytest.mark.fast
@each_space
def test_what_is_drawn_of_it_makes_recipes_that_have_it(
    path: Path, clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(settings(DEFAULT[kind_for(path)], clipart_shards, tmp_path))
    config = space_in(path)
    told = set()
    for params in draws_of(recipe, config, seed=path.stem):
        made = recipe_with(recipe, params)
        assert own_configuration(made, config.space) == params
        assert find_problems(made, build=False) == []
        told |= set(params)
    assert told == set(config.space)


@pytest.mark.fast
@each_space
def test_the_defaults_are_in_it(path: Path, clipart_shards: Path) -> None:
    recipe = load_recipe(settings(DEFAULT[kind_for(path)], clipart_shards))
    own = own_configuration(recipe, space_in(path).space)
    assert own is not None
    assert recipe_with(recipe, own) == recipe


@pytest.mark.fast
@pytest.mark.parametrize("path", sorted((JOBS / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_shipped_recipes_are_in_the_spaces_of_their_kinds(path: Path) -> None:
    recipe = load_recipe(path)
    for space in SPACES:
        if kind_for(space) == recipe.objective.kind:
            assert own_configuration(recipe, space_in(space).space) is not None, space.stem


@pytest.mark.fast
def test_any_of_the_compared_objectives_may_be_the_recipe(clipart_shards: Path) -> None:
    config = space_in(JOBS / "spaces" / "objectives.yaml")
    for kind in config.space["objective.kind"].listed or ():
        recipe = load_recipe(settings({"kind": kind}, clipart_shards))
        assert own_configuration(recipe, config.space) is not None, kind
