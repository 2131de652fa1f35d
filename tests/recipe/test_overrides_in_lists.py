"""Overrides reach into lists by the numbers of their items, from 0."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.recipe_file import load_recipe, put
from tests.recipe.conftest import SMALL, Reader

pytestmark = pytest.mark.fast

PARTS = [
    {"objective": {"kind": "simclr", "projector": [32, 16]}},
    {"weight": 0.5, "objective": {"kind": "vicreg", "projector": [32, 16]}},
]
COMPOSITE: dict[str, Any] = {
    **SMALL,
    "data": {"shards": [{"path": "a", "weight": 1}, {"path": "b", "weight": 3}]},
    "objective": {"kind": "composite", "parts": PARTS},
}


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("objective.parts.1.weight=0.1", lambda r: r.objective.parts[1].weight, 0.1),
        (
            "objective.parts.0.objective.temperature=0.3",
            lambda r: r.objective.parts[0].objective.temperature.start,
            0.3,
        ),
        (
            "objective.parts.1.objective.projector.0=64",
            lambda r: r.objective.parts[1].objective.projector,
            (64, 16),
        ),
        (
            "objective.parts.1.objective={kind: barlow, projector: [8]}",
            lambda r: r.objective.parts[1].objective.kind,
            "barlow",
        ),
        ("data.shards.1.path=c", lambda r: r.data.manifests, ("a", "c")),
        ("encoder.args.channels.3=64", lambda r: r.encoder.args["channels"], [16, 16, 32, 64]),
    ],
)
def test_an_override_sets_one_item(
    draft: Reader, override: str, read: Callable[[Recipe], Any], expected: Any
) -> None:
    found = draft(override, recipe=COMPOSITE)
    assert found.problems == []
    assert found.recipe is not None
    assert read(found.recipe) == expected
    plain = load_recipe(COMPOSITE)
    assert load_recipe(COMPOSITE, [override]) == found.recipe != plain
    assert load_recipe(COMPOSITE) == plain, "the mapping was changed"


def test_numbers_that_are_none_of_the_items_are_told_at_once(draft: Reader) -> None:
    overrides = [
        "objective.parts.2.weight=1",
        "objective.parts.first.weight=1",
        "objective.parts.-1.weight=1",
        "objective.parts.1.objective.projector.2=8",
        "data.shards.2=c",
        "objective.parts.1.weight=0.1",
    ]
    with pytest.raises(UserError) as error:
        draft(*overrides, recipe=COMPOSITE)
    parts = "is none of the 2 items of objective.parts, counted from 0"
    assert [tuple(problem) for problem in error.value.problems] == [
        ("objective.parts.2.weight", f"'2' {parts}"),
        ("objective.parts.first.weight", f"'first' {parts}"),
        ("objective.parts.-1.weight", f"'-1' {parts}"),
        (
            "objective.parts.1.objective.projector.2",
            "'2' is none of the 2 items of objective.parts.1.objective.projector, counted from 0",
        ),
        ("data.shards.2", "'2' is none of the 2 items of data.shards, counted from 0"),
    ]


def test_a_wrong_value_of_an_item_is_told_at_its_place(draft: Reader) -> None:
    (problem,) = draft("objective.parts.1.weight=heavy", recipe=COMPOSITE).problems
    assert problem.where == "objective.parts.1.weight"
    assert "'heavy' is wrong" in problem.message


@pytest.mark.parametrize("length", ["steps", "epochs"])
@pytest.mark.parametrize("train", [[1, 2], []], ids=str)
def test_a_length_of_a_list_is_a_mistake(draft: Reader, length: str, train: list[int]) -> None:
    with pytest.raises(UserError) as error:
        draft(f"train.{length}=5", recipe={**SMALL, "train": train})
    message = f"{length!r} is none of the {len(train)} items of train, counted from 0"
    assert [tuple(problem) for problem in error.value.problems] == [(f"train.{length}", message)]


@pytest.mark.parametrize("length", ["steps", "epochs"])
@pytest.mark.parametrize("train", [7, "long", None, "absent"])
def test_a_length_makes_the_section_that_is_none(draft: Reader, length: str, train: Any) -> None:
    recipe = {name: section for name, section in SMALL.items() if name != "train"}
    found = draft(
        f"train.{length}=5", recipe=recipe if train == "absent" else {**recipe, "train": train}
    )
    assert found.problems == []
    assert found.recipe is not None
    assert getattr(found.recipe.train, length) == 5


TREES: Any = st.recursive(
    st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab0"), inner),
    max_leaves=12,
)


def slow_put(raw: Any, keys: list[str], value: Any) -> Any:
    """The tree with the value in it, made anew; IndexError if there is no such item."""
    if not keys:
        return value
    key, *rest = keys
    if isinstance(raw, list):
        if key not in map(str, range(len(raw))):
            raise IndexError
        return [slow_put(v, rest, value) if str(n) == key else v for n, v in enumerate(raw)]
    inner = raw if isinstance(raw, dict) else {}
    return {**inner, key: slow_put(inner.get(key), rest, value)}


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("ab0"), TREES),
    st.lists(st.sampled_from(["a", "b", "0", "1", "2", "x", "-1"]), min_size=1, max_size=4),
)
def test_a_value_is_put_where_its_keys_lead(raw: dict[str, Any], keys: list[str]) -> None:
    given_raw, value = deepcopy(raw), {"new": [1]}
    fault = put(raw, keys, value)
    try:
        expected = slow_put(given_raw, keys, value)
    except IndexError:
        assert fault is not None
        assert "counted from 0" in fault
    else:
        assert fault is None
        assert raw == expected
