"""What is read of a recipe's file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.recipe_file import draft_recipe, load_recipe
from tests.objectives.cases import OBJECTIVES
from tests.recipe.conftest import SMALL, Reader

pytestmark = pytest.mark.fast

RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("train.global_batch=64", lambda r: r.train.global_batch, 64),
        ("train.optimizer.lr=1e-3", lambda r: r.train.optimizer.lr, 0.001),
        ("train.optimizer.lr=5.E-4", lambda r: r.train.optimizer.lr, 0.0005),
        ("train.optimizer.kind=sgd", lambda r: r.train.optimizer.kind, "sgd"),
        ("objective.projector=[64, 32]", lambda r: r.objective.projector, (64, 32)),
        ("views.crop_scale=[0.5, 1]", lambda r: r.views.crop_scale, (0.5, 1.0)),
        ("train.checkpoint.every_steps=null", lambda r: r.train.checkpoint.every_steps, None),
        ("encoder.args.stem_width=16", lambda r: r.encoder.args["stem_width"], 16),
        ("encoder.args={}", lambda r: r.encoder.args, {}),
        ("tracking.register=digits", lambda r: r.tracking.register_as, "digits"),
        ("tracking.uri=http://a:1/?b=c", lambda r: r.tracking.uri, "http://a:1/?b=c"),
        ("pairs.miner=dbpm", lambda r: r.pairs.miner.kind, "dbpm"),
        ("pairs.arbiter=uota", lambda r: r.pairs.arbiter.temperature, 2.734375),
        (
            "objective={kind: cmim, decoder: {channels: [16, 8]}}",
            lambda r: (r.objective.decoder.kind, r.objective.decoder.channels),
            ("conv", (16, 8)),
        ),
        ("name='2024'", lambda r: r.name, "2024"),
    ],
)
def test_an_override_sets_one_setting(
    draft: Reader, override: str, read: Callable[[Recipe], Any], expected: Any
) -> None:
    found = draft(override)
    assert found.problems == []
    assert found.recipe is not None
    assert read(found.recipe) == expected
    assert found.recipe.data.manifests == ("shards",)


@pytest.mark.parametrize("kind", ["steps", "epochs"])
def test_a_length_on_the_command_line_replaces_the_other_one_in_the_file(
    draft: Reader, kind: str
) -> None:
    other = {"steps": "epochs", "epochs": "steps"}[kind]
    found = draft(f"train.{kind}=7", recipe=SMALL | {"train": {other: 3}})
    assert found.problems == []
    assert found.recipe is not None
    assert (getattr(found.recipe.train, kind), getattr(found.recipe.train, other)) == (7, None)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_read_as_it_was_resolved(draft: Reader, name: str) -> None:
    recipe = draft(recipe=SMALL | {"objective": OBJECTIVES[name]}).recipe
    assert recipe is not None
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


def test_an_arbiter_is_read_as_it_was_resolved(draft: Reader) -> None:
    recipe = draft("pairs.arbiter={kind: uota, start_epoch: 2}").recipe
    assert recipe is not None
    assert recipe.resolved()["pairs"]["arbiter"] == {
        "kind": "uota",
        "temperature": 2.734375,
        "shrinkage": 1e-4,
        "start_epoch": 2,
    }
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


@pytest.mark.parametrize(
    ("objective", "usual"),
    [
        ("{}", "pooled"),
        ("{kind: mim}", "mean"),
        ("{kind: a_mim}", "mean"),
        ("{kind: cmim}", "mean"),
        ("{kind: composite, parts: [{objective: {}}, {objective: {kind: cmim}}]}", "mean"),
        ("{kind: composite, parts: [{objective: {}}, {objective: {kind: byol}}]}", "pooled"),
        (
            "{kind: composite, parts: [{objective: {kind: mim}}, {objective: {kind: cmim}}]}",
            "pooled",
        ),
    ],
)
def test_an_encoder_gives_the_mean_of_codes_where_there_are_codes(
    draft: Reader, objective: str, usual: str
) -> None:
    objective = objective.replace("{objective: {}}", "{objective: {kind: simclr}}")
    recipe = draft(f"objective={objective}").recipe
    assert recipe is not None
    assert recipe.features == FeaturesConfig.model_validate(usual)
    assert recipe.resolved()["encoder"]["features"] is None
    for told in ("pooled", "{kind: decoder_hidden, layer: 0, pool: none}"):
        other = draft(f"objective={objective}", f"encoder.features={told}").recipe
        assert other is not None
        assert other.features == FeaturesConfig.model_validate(yaml.safe_load(told))
        assert Recipe.model_validate(yaml.safe_load(other.to_yaml())) == other


def test_a_recipe_resolved_before_there_was_a_choice_is_read(draft: Reader) -> None:
    recipe = draft("evaluate={train: a, test: b, features: [pooled]}").recipe
    assert recipe is not None
    before = recipe.resolved()
    del before["encoder"]["features"]
    assert Recipe.model_validate(before) == recipe
    assert recipe.evaluate.kinds("mean") == ("pooled",)


@pytest.mark.parametrize("override", ["pairs=null", "pairs={}", "pairs.arbiter=null", "seed=0"])
def test_pairs_are_not_weighed_unless_told(draft: Reader, override: str) -> None:
    recipe = draft(override).recipe
    assert recipe is not None
    pairs = recipe.resolved()["pairs"]
    assert (pairs["miner"], pairs["arbiter"]) == (None, None)


def test_a_number_that_yaml_takes_for_text_is_a_number_to_timm(draft: Reader) -> None:
    found = draft("encoder.args.drop_rate=1e-3").recipe
    assert found is not None
    assert found.encoder.args["drop_rate"] == 0.001


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_recipe_has_no_mistake(recipe: Path) -> None:
    found = draft_recipe(recipe)
    assert found.problems == []
    assert found.recipe is not None


def test_the_resolved_recipe_repeats_the_recipe(draft: Reader) -> None:
    recipe = draft(
        "name=run-1",
        "seed=7",
        "views.crop_scale=[0.5, 1]",
        "train.optimizer.lr=1e-3",
        "train.checkpoint.every_steps=5",
        "evaluate={train: a, test: b, probes: [knn]}",
        "tracking.register=digits",
    ).recipe
    assert recipe is not None
    assert Recipe.model_validate(recipe.resolved()) == recipe
    assert Recipe.model_validate(json.loads(json.dumps(recipe.resolved()))) == recipe
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


def test_the_resolved_recipe_writes_every_default_out(draft: Reader) -> None:
    recipe = draft().recipe
    assert recipe is not None
    resolved = recipe.resolved()
    assert resolved["tracking"]["register"] is None
    for section in ("data", "views", "encoder", "objective", "train", "evaluate"):
        assert len(resolved[section]) == len(type(getattr(recipe, section)).model_fields)


def test_null_means_to_evaluate_nothing(draft: Reader) -> None:
    found = draft("evaluate=null").recipe
    assert found is not None
    assert found.evaluate.sets is None
    assert found.evaluate.snapshot_samples == 0


def test_absolute_paths_are_spelt_out_and_uris_are_left(
    draft: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    recipe = draft(
        "evaluate={train: ~/a, test: ../b}",
        "encoder.init=models:/a@candidate",
        "data.exclude=bad.txt",
    ).recipe
    assert recipe is not None
    absolute = recipe.with_absolute_paths()
    assert absolute.data.manifests == (str(tmp_path / "shards"),)
    assert absolute.data.exclude == str(tmp_path / "bad.txt")
    assert absolute.tracking.storage == str(tmp_path / "runs")
    assert absolute.encoder.init == "models:/a@candidate"
    assert absolute.evaluate is not None
    assert absolute.evaluate.train == "/home/someone/a"
    assert absolute.evaluate.test == str(tmp_path.parent / "b")
    assert absolute.with_absolute_paths() == absolute


def test_mappings_are_read_as_a_file_is_and_stay_as_they_were(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "extensions": (),
        "data": MappingProxyType({"shards": ({"path": "a"}, MappingProxyType({"path": "b"}))}),
        "encoder": {"name": "resnet18", "args": {"channels": (8, 8, 8, 8)}},
        "train": {"epochs": 1, "optimizer": {"lr": 0.1}},
    }
    found = load_recipe(given, ["train.optimizer.lr=0.2", "encoder.args.stem_width=8"])
    assert found.data.manifests == ("a", "b")
    assert found.train.optimizer.lr == 0.2
    assert given["train"]["optimizer"] == {"lr": 0.1}
    assert given["encoder"]["args"] == {"channels": (8, 8, 8, 8)}
    (tmp_path / "recipe.yaml").write_text(found.to_yaml())
    assert load_recipe(tmp_path / "recipe.yaml") == found
    with pytest.raises(UserError, match="extensions"):
        load_recipe({**given, "extensions": ("no_such_module",)})
