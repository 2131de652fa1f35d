"""Which objectives and runs may have a miner or an arbiter, as `plan` says it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import UserError
from pipeline.planning.check import checked_recipe
from pipeline.planning.plan import plan_recipe
from tests.objectives.cases import BATCH, OBJECTIVES

pytestmark = pytest.mark.fast

SMALL = {
    "encoder": {"name": "resnet10t", "args": {"channels": [16, 16, 32, 32], "stem_width": 8}},
    "views": {"size": 16},
    "objective": {"projector": [32, 16]},
    "pairs": {"arbiter": {"kind": "uota", "start_epoch": 1}},
    "train": {"epochs": 3, "global_batch": BATCH},
}
MASKED = {
    "encoder": {
        "name": "vit_tiny_patch16_224",
        "args": {
            "img_size": 64,
            "patch_size": 8,
            "embed_dim": 16,
            "depth": 1,
            "num_heads": 2,
            "class_token": False,
            "global_pool": "avg",
            "fc_norm": False,
        },
    },
    "views": {"size": 64, "count": 1, "masks": {"kind": "multiblock"}},
}
BARLOW = OBJECTIVES["barlow"]
NO_PART = "no pair owns a part of {}'s loss"
BY_ITSELF = "{} looks at each view by itself, not at how far it is from others"
FORBIDDEN: dict[str, tuple[dict[str, Any], str]] = {
    "barlow": ({"objective": BARLOW}, NO_PART),
    "amcl over barlow": ({"objective": OBJECTIVES["amcl over barlow"]}, NO_PART),
    "composite": (
        {"objective": {"kind": "composite", "parts": [{"objective": BARLOW}] * 2}},
        NO_PART,
    ),
    **{
        kind: (
            {**MASKED, "objective": {"kind": kind, "predictor": {"width": 16, "depth": 1}}},
            BY_ITSELF,
        )
        for kind in ("ijepa", "dmt_jepa")
    },
    **{name: ({"objective": OBJECTIVES[name]}, BY_ITSELF) for name in ("mim", "a_mim", "cmim")},
}
LEJEPA = {"kind": "lejepa", "slices": 16, "projector": [16, 4]}
ALLOWED = (
    {"lejepa": LEJEPA}
    | {
        name: section
        for name, section in OBJECTIVES.items()
        if not {name, section["kind"]} & FORBIDDEN.keys()
    }
    | {"composite": OBJECTIVES["composite"]}
)

Writer = Callable[..., Path]


@pytest.fixture
def recipe(tmp_path: Path, clipart_shards: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Writes the small recipe with other sections."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def write(**sections: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        data = {"shards": f"{clipart_shards}/train"}
        path.write_text(yaml.safe_dump({**SMALL, "data": data, **sections}))
        return path

    return write


@pytest.mark.parametrize("name", FORBIDDEN)
def test_an_arbiter_is_refused_where_nothing_can_be_weighed(recipe: Writer, name: str) -> None:
    sections, reason = FORBIDDEN[name]
    with pytest.raises(UserError) as told:
        checked_recipe(recipe(**sections), [])
    assert told.value.problems == [
        ("pairs.arbiter", f"uota, but {reason.format(name)}; allowed: null")
    ]
    assert checked_recipe(recipe(**sections), ["pairs=null"])


@pytest.mark.parametrize("name", ALLOWED)
def test_an_arbiter_is_taken_where_pairs_own_losses(recipe: Writer, name: str) -> None:
    checked = checked_recipe(recipe(objective=ALLOWED[name]), [])
    assert checked.pairs.arbiter is not None
    assert checked.pairs.arbiter.start_epoch == 1


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_miner_is_refused_where_no_pair_owns_a_loss(recipe: Writer, name: str) -> None:
    sections, reason = FORBIDDEN[name]
    path = recipe(**sections, pairs={"miner": {"kind": "dbpm"}})
    if reason == BY_ITSELF:
        assert checked_recipe(path, []).pairs.miner
        return
    with pytest.raises(UserError) as told:
        checked_recipe(path, [])
    assert told.value.problems == [
        ("pairs.miner", f"dbpm, but {reason.format(name)}; allowed: null")
    ]


@pytest.mark.parametrize(
    ("settings", "last"),
    [
        (["train.epochs=5", "pairs.miner.warm_up=4"], None),
        (["train.epochs=5", "pairs.miner.warm_up=5"], 4),
        (["train.steps=31", "pairs.miner.warm_up=1"], None),
        (["train.steps=30", "pairs.miner.warm_up=1"], 0),
    ],
)
def test_a_miner_that_stays_in_its_warm_up_is_told(
    recipe: Writer, settings: list[str], last: int | None
) -> None:
    """240 samples are 30 batches of 8."""
    path = recipe(pairs={"miner": {"kind": "dbpm"}})
    warnings = plan_recipe(checked_recipe(path, settings)).warnings
    found = [warning for warning in warnings if warning.startswith("pairs.miner.warm_up: ")]
    assert len(found) == (last is not None)
    if last is not None:
        assert f"the run ends in epoch {last}, counted from 0" in found[0]
        assert found[0].endswith("losses are remembered, but no pair is weighed")


@pytest.mark.parametrize(
    ("settings", "length", "last"),
    [
        (["train.epochs=5", "pairs.arbiter.start_epoch=5"], "train.epochs", 4),
        (["train.steps=30", "pairs.arbiter.start_epoch=1"], "train.steps", 0),
        (["train.steps=31", "pairs.arbiter.start_epoch=2"], "train.steps", 1),
    ],
)
def test_an_arbiter_that_would_never_begin_is_refused(
    recipe: Writer, settings: list[str], length: str, last: int
) -> None:
    """240 samples are 30 batches of 8."""
    with pytest.raises(UserError) as told:
        checked_recipe(recipe(), settings)
    (problem,) = told.value.problems
    assert problem.where == "pairs.arbiter.start_epoch"
    assert f"with this {length} the last epoch is {last}" in problem.message
    assert problem.message.endswith(f"allowed: 0 to {last}")
    assert checked_recipe(recipe(), [*settings, f"pairs.arbiter.start_epoch={last}"])


def test_a_wrong_length_is_not_blamed_on_the_arbiter(recipe: Writer) -> None:
    with pytest.raises(UserError) as told:
        checked_recipe(recipe(), ["train.epochs=0"])
    assert [problem.where for problem in told.value.problems] == ["train.epochs"]


@pytest.mark.parametrize(
    ("objective", "views", "width"),
    [
        ({"projector": [8]}, {}, 8),
        ({"projector": [7]}, {}, None),
        ({"projector": [24]}, {"local": {"count": 2, "size": 8}}, 24),
        ({"projector": [23]}, {"local": {"count": 2, "size": 8}}, None),
        ({"kind": "amcl", "heads": 2, "projector": [4], "top_k": 3}, {}, 8),
        ({**LEJEPA, "projector": [23]}, {"count": 4}, None),
    ],
)
def test_too_few_deviations_for_the_dimensions_are_told(
    recipe: Writer, objective: dict[str, Any], views: dict[str, Any], width: int | None
) -> None:
    path = recipe(objective=objective, views={"size": 16, **views})
    found = plan_recipe(checked_recipe(path, [])).warnings
    warnings = [warning for warning in found if warning.startswith("pairs.arbiter: ")]
    assert len(warnings) == (width is not None)
    if width is not None:
        assert f"no more than the {width} dimensions" in warnings[0]
    without = plan_recipe(checked_recipe(path, ["pairs=null"])).warnings
    assert not any(warning.startswith("pairs") for warning in without)


def test_settings_of_an_objective_are_quoted_as_in_the_recipe(recipe: Writer) -> None:
    """An override may turn a weighed run into one that cannot be."""
    with pytest.raises(UserError) as told:
        checked_recipe(recipe(), [f"objective={json.dumps(BARLOW)}"])
    assert [problem.where for problem in told.value.problems] == ["pairs.arbiter"]
