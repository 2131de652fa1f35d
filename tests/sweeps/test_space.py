"""What trials of a space are, and the recipes that they make."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.recipe import Recipe
from pipeline.recipe_file import load_recipe
from pipeline.sweeps.spaces.dimension import DimensionConfig
from pipeline.sweeps.spaces.space import (
    applied,
    combinations,
    drawn,
    fixed_values,
    ordered,
    own_configuration,
    own_values,
    recipe_with,
)

pytestmark = pytest.mark.fast

SETTINGS: dict[str, Any] = {
    "data": {"shards": "shards"},
    "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
    "objective": {"kind": "simclr", "projector": [16, 8], "temperature": 0.2},
    "train": {"epochs": 3, "global_batch": 32, "optimizer": {"kind": "sgd", "lr": 0.1}},
}
PARTS = [
    {"objective": {"kind": "simclr", "projector": [16]}},
    {"weight": 0.5, "objective": {"kind": "vicreg", "projector": [16]}},
]
Space = dict[str, DimensionConfig]


def space_of(**dimensions: Mapping[str, Any]) -> Space:
    """By path, of which the dots are written `__`."""
    return {
        path.replace("__", "."): DimensionConfig.model_validate(values)
        for path, values in dimensions.items()
    }


def recipe_of(**sections: Any) -> Recipe:
    return load_recipe({**SETTINGS, **sections})


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Of some dimensions, which may ask for values of those before them, told in any order."""
    paths = [f"s.{letter}" for letter in "abcde"[: draw(st.integers(1, 5))]]
    found = {}
    for number, path in enumerate(paths):
        others = draw(st.lists(st.sampled_from(paths[:number]), unique=True)) if number else []
        when = {
            other: draw(st.integers(0, 2) | st.lists(st.integers(0, 2), min_size=1))
            for other in others
        }
        values = draw(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
        found[path] = DimensionConfig(grid=tuple(values), when=when)
    return {path: found[path] for path in draw(st.permutations(paths))}


@settings(deadline=None)
@given(spaces())
def test_what_is_asked_for_comes_before_who_asks(space: Space) -> None:
    found = ordered(space)
    assert sorted(found) == sorted(space)
    for path in found:
        assert set(space[path].when) <= set(found[: found.index(path)])


@pytest.mark.parametrize("circle", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_dimensions_that_wait_for_each_other_are_named(circle: list[str]) -> None:
    asking = {one: {other: 1} for one, other in zip(circle, circle[1:] + circle[:1], strict=True)}
    space = {path: DimensionConfig(choice=(1, 2), when=when) for path, when in asking.items()}
    space["free"] = DimensionConfig(choice=(1, 2))
    with pytest.raises(ValueError, match=f"{', '.join(circle)} wait for each other"):
        ordered(space)


def is_one(space: Space, params: Mapping[str, Any]) -> bool:
    """Whether a configuration has exactly what `when` says, told by each dimension alone."""
    return all(
        (path in params)
        == all(
            other in params and params[other] in (wanted if isinstance(wanted, list) else [wanted])
            for other, wanted in dimension.when.items()
        )
        for path, dimension in space.items()
    )


def all_of(space: Space) -> set[str]:
    """Every configuration: of all choices of a value or none, those that are one."""
    values = [[(path, v) for v in (*(d.listed or ()), None)] for path, d in space.items()]
    every = ({p: v for p, v in pairs if v is not None} for pairs in itertools.product(*values))
    return {json.dumps(params, sort_keys=True) for params in every if is_one(space, params)}


@settings(deadline=None)
@given(spaces())
def test_combinations_are_all_configurations_each_once(space: Space) -> None:
    texts = [json.dumps(params, sort_keys=True) for params in combinations(space, {})]
    assert len(set(texts)) == len(texts)
    assert set(texts) == all_of(space)


@settings(deadline=None)
@given(spaces(), st.data())
def test_what_is_drawn_is_one_of_them(space: Space, data: st.DataObject) -> None:
    params = drawn(
        space, {}, lambda _, dimension: data.draw(st.sampled_from(dimension.listed or ()))
    )
    assert json.dumps(params, sort_keys=True) in all_of(space)


def test_combinations_go_through_the_last_dimension_fastest() -> None:
    space = space_of(
        a={"grid": [1, 2]}, b={"grid": ["x", "y"], "when": {"a": 2}}, c={"grid": [[4], [5]]}
    )
    assert list(combinations(space, {})) == [
        {"a": 1, "c": [4]},
        {"a": 1, "c": [5]},
        {"a": 2, "c": [4], "b": "x"},
        {"a": 2, "c": [4], "b": "y"},
        {"a": 2, "c": [5], "b": "x"},
        {"a": 2, "c": [5], "b": "y"},
    ]


def test_when_asks_the_recipe_for_what_the_space_does_not_vary() -> None:
    space = space_of(
        objective__temperature={"grid": [0.1, 0.2], "when": {"objective.kind": "simclr"}},
        objective__variance={"grid": [1], "when": {"objective.kind": ["vicreg", "byol"]}},
    )
    fixed = fixed_values(recipe_of(), space)
    assert fixed == {"objective.kind": "simclr"}
    assert list(combinations(space, fixed)) == [
        {"objective.temperature": 0.1},
        {"objective.temperature": 0.2},
    ]


def overrides(params: Mapping[str, Any]) -> Iterable[str]:
    return [f"{path}={json.dumps(value)}" for path, value in params.items()]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"objective.temperature": 0.45},
        {"objective.temperature": {"start": 0.5, "end": 0.1}},
        {"objective.projector": [32, 16, 8]},
        {"train.optimizer.lr": 0.003, "train.optimizer.weight_decay": 1e-5},
        {"train.global_batch": 64, "views.size": 48, "views.crop_scale": [0.5, 1.0]},
        {"train.epochs": 7},
        {"train.steps": 100},
        {"encoder.args.stem_width": 16},
        {"pairs.miner": "dbpm"},
    ],
)
def test_a_configuration_makes_what_overrides_make(params: dict[str, Any]) -> None:
    assert recipe_with(recipe_of(), params) == load_recipe(SETTINGS, overrides(params))


def test_a_length_takes_the_place_of_the_other() -> None:
    recipe = recipe_with(recipe_of(), {"train.steps": 100})
    assert (recipe.train.steps, recipe.train.epochs) == (100, None)
    back = recipe_with(recipe, {"train.epochs": 4})
    assert (back.train.steps, back.train.epochs) == (None, 4)


def test_a_section_of_another_kind_begins_anew() -> None:
    recipe = recipe_of(objective={**SETTINGS["objective"], "projector": [64, 32]})
    params = {"objective.invariance": 10.0, "objective.kind": "vicreg"}
    assert recipe_with(recipe, params) == recipe_of(objective={"kind": "vicreg", "invariance": 10})
    same = {"objective.kind": "simclr", "objective.temperature": 0.3}
    kept = recipe_with(recipe, same)
    assert kept.resolved()["objective"] == {**recipe.resolved()["objective"], "temperature": 0.3}


def test_kinds_come_first_and_the_outer_of_two_before_the_inner() -> None:
    params = {
        "objective.decoder.kind": "patches",
        "objective.decoder.width": 16,
        "objective.width": 6,
        "objective.kind": "a_mim",
    }
    objective = {"kind": "a_mim", "width": 6, "decoder": {"kind": "patches", "width": 16}}
    for order in itertools.permutations(params):
        recipe = recipe_with(recipe_of(), {path: params[path] for path in order})
        assert recipe == recipe_of(objective=objective)


def test_items_of_lists_go_by_their_numbers() -> None:
    recipe = recipe_of(objective={"kind": "composite", "parts": PARTS})
    params = {
        "objective.parts.1.weight": 0.25,
        "objective.parts.0.objective.temperature": 0.4,
        "objective.parts.1.objective.kind": "barlow",
    }
    parts = deepcopy(PARTS)
    parts[0]["objective"]["temperature"] = 0.4
    parts[1] = {"weight": 0.25, "objective": {"kind": "barlow"}}
    assert recipe_with(recipe, params) == recipe_of(objective={"kind": "composite", "parts": parts})
    for path in (
        "objective.parts.2.weight",
        "objective.parts.x.weight",
        "objective.parts.-1.weight",
    ):
        number = path.split(".")[2]
        with pytest.raises(
            ValueError, match=f"{path}: '{number}' is none of the 2 items of objective.parts"
        ):
            applied(recipe, {path: 1.0})


def test_the_recipe_stays_as_it_was() -> None:
    recipe = recipe_of()
    before, params = recipe.resolved(), {"objective.projector": [4], "objective.kind": "simclr"}
    values = applied(recipe, params)
    values["objective"]["projector"].append(5)
    assert recipe.resolved() == before
    assert params["objective.projector"] == [4]


def test_a_value_that_is_wrong_there_is_refused() -> None:
    with pytest.raises(ValidationError):
        recipe_with(recipe_of(), {"objective.temperature": -1.0})


SPACE = space_of(
    objective__temperature={"log_uniform": [0.05, 1], "when": {"objective.kind": "simclr"}},
    objective__projector={"choice": [[16, 8], [32]]},
    objective__invariance={"uniform": [1, 50], "when": {"objective.kind": "vicreg"}},
)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ({}, {"objective.projector": [16, 8], "objective.temperature": 0.2}),
        (
            {"temperature": {"start": 0.2}},
            {"objective.projector": [16, 8], "objective.temperature": 0.2},
        ),
        ({"temperature": {"start": 0.2, "end": 0.1}}, None),
        ({"temperature": {"start": 0.2, "learnable": True}}, None),
        ({"temperature": 2.0}, None),
        ({"projector": [16]}, None),
    ],
)
def test_the_recipe_itself_is_a_configuration_if_it_lies_within(
    objective: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    recipe = recipe_of(objective={**SETTINGS["objective"], **objective})
    found = own_configuration(recipe, SPACE)
    assert found == expected
    if found is not None:
        assert recipe_with(recipe, found) == recipe


def test_settings_that_the_recipe_lacks_are_none_of_its_own() -> None:
    assert own_values(recipe_of(), SPACE).keys() == {
        "objective.temperature",
        "objective.projector",
    }
    lacking = space_of(encoder__args__depth={"integer": [1, 3]})
    assert own_values(recipe_of(), lacking) == {}
    assert own_configuration(recipe_of(), lacking) is None


def test_a_kind_that_is_varied_decides_what_applies_to_the_recipe_itself() -> None:
    space = {**SPACE, **space_of(objective__kind={"choice": ["simclr", "vicreg"]})}
    found = own_configuration(recipe_of(), space)
    assert found is not None
    assert found.keys() == {"objective.kind", "objective.projector", "objective.temperature"}
