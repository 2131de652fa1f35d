"""The recipe as a file: what is read of it, and that all its mistakes are told at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.encoders.features import FeaturesConfig
from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.recipe_file import Draft, draft_recipe
from tests.objectives.cases import OBJECTIVES

pytestmark = pytest.mark.fast

RECIPES = Path(__file__).parent.parent / "jobs" / "recipes"
SMALL = {
    "data": {"shards": "shards"},
    "encoder": {"name": "resnet10t", "args": {"channels": [16, 16, 32, 32], "stem_width": 8}},
    "train": {"epochs": 3, "global_batch": 32},
}

Reader = Callable[..., Draft]


@pytest.fixture
def draft(tmp_path: Path) -> Reader:
    def read(*overrides: str, recipe: dict[str, Any] = SMALL) -> Draft:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return draft_recipe(path, overrides)

    return read


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


@pytest.mark.parametrize("train", [{}, {"epochs": 3, "steps": 3}])
def test_neither_or_both_lengths_are_a_mistake(draft: Reader, train: dict[str, int]) -> None:
    found = draft(recipe=SMALL | {"train": train})
    assert ("train", "give either epochs or steps") in found.problems


@pytest.mark.parametrize(
    ("override", "suggestion"),
    [
        ("trian=1", "did you mean train?"),
        ("data.stream=4", "did you mean streams?"),
        ("objective.tempreture=1", "did you mean temperature?"),
        ("train.optimizer.weight_deacy=0", "did you mean weight_decay?"),
        ("train.checkpoint.evry_steps=1", "did you mean every_steps?"),
        ("tracking.registre=digits", "did you mean register?"),
        ("pairs.arbitr=null", "did you mean arbiter?"),
        ("encoder.color=1", "allowed: args, features, init, name, positions"),
    ],
)
def test_a_misspelt_setting_gets_a_suggestion(
    draft: Reader, override: str, suggestion: str
) -> None:
    found = draft(override)
    assert found.problems == [(override.partition("=")[0], f"is not a setting; {suggestion}")]
    assert found.recipe is not None


PARTS = {
    "kind": "composite",
    "parts": [
        {"objective": {"kind": "simclr", "temperature": 0}},
        {"weight": 0, "objective": {"kind": "barlow", "redundanc": 1}},
        {"objective": {"kind": "moko"}},
        {"objective": {}},
    ],
}


def test_mistakes_in_the_parts_of_a_composite_are_told_at_their_places(draft: Reader) -> None:
    found = dict(draft(recipe=SMALL | {"objective": PARTS}).problems)
    assert set(found) == {
        "objective.parts.0.objective.temperature",
        "objective.parts.1.weight",
        "objective.parts.1.objective.redundanc",
        "objective.parts.2.objective.kind",
        "objective.parts.3.objective.kind",
    }
    assert found["objective.parts.1.objective.redundanc"] == (
        "is not a setting; did you mean redundancy?"
    )
    assert found["objective.parts.2.objective.kind"] == "'moko' is wrong; did you mean moco?"
    assert found["objective.parts.3.objective.kind"].startswith("is missing; allowed: simclr")


def test_parts_share_one_twin(draft: Reader) -> None:
    twins = [{"kind": "byol", "ema": {"start": start}} for start in (0.9, 0.99)]
    parts = [{"objective": twin} for twin in twins]
    (problem,) = draft(recipe=SMALL | {"objective": {"kind": "composite", "parts": parts}}).problems
    assert problem.where == "objective"
    assert "different ema settings" in problem.message


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_read_as_it_was_resolved(draft: Reader, name: str) -> None:
    recipe = draft(recipe=SMALL | {"objective": OBJECTIVES[name]}).recipe
    assert recipe is not None
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


@pytest.mark.parametrize(
    ("arbiter", "where", "message"),
    [
        ("{}", "kind", "is missing; allowed: uota"),
        ("{kind: uotta}", "kind", "'uotta' is wrong: input should be 'uota'"),
        (
            "{kind: uota, temprature: 1}",
            "temprature",
            "is not a setting; did you mean temperature?",
        ),
        (
            "{kind: uota, temperature: 0}",
            "temperature",
            "0 is wrong: input should be greater than 0",
        ),
    ],
)
def test_mistakes_in_an_arbiter_are_told_at_their_places(
    draft: Reader, arbiter: str, where: str, message: str
) -> None:
    found = draft(f"pairs.arbiter={arbiter}")
    assert found.problems == [(f"pairs.arbiter.{where}", message)]
    assert found.recipe is not None


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


def test_a_misspelt_setting_in_an_optional_section_gets_a_suggestion(draft: Reader) -> None:
    found = draft("evaluate={train: a, test: b, max_sample: 100}")
    (problem,) = found.problems
    assert problem == ("evaluate.max_sample", "is not a setting; did you mean max_samples?")


@pytest.mark.parametrize(
    ("override", "where", "part"),
    [
        ("seed=-1", "seed", "-1 is wrong: input should be greater than or equal to 0"),
        ("objective.temperature=0", "objective.temperature", "greater than 0"),
        ("objective.kind=sinclr", "objective.kind", "'sinclr' is wrong; did you mean simclr?"),
        ("objective.kind=swav", "objective.kind", "'swav' is wrong; allowed: simclr, moco, mocov3"),
        ("objective=simclr", "objective", "'simclr' is not a section with a kind; allowed: simclr"),
        ("objective.temperature=-1", "objective.temperature", "-1 is wrong: input should be great"),
        ("objective.temperature=warm", "objective.temperature", "should be a number"),
        ("objective.temperature={start: 0.2, end: 0}", "objective.temperature.end", "greater than"),
        (
            "objective.temperature={start: 0.2, ends: 0.1}",
            "objective.temperature.ends",
            "is not a setting; did you mean end?",
        ),
        ("objective={kind: moco, ema: {start: 2}}", "objective.ema.start", "less than or equal"),
        ("objective={kind: moco, ema: slow}", "objective.ema", "should be a number"),
        ("objective.projector=128", "objective.projector", "should be a list of widths"),
        ("objective={kind: simsiam, ema: {}}", "objective.ema", "allowed: null, or kind: byol"),
        (
            "objective={kind: amcl, heads: 200}",
            "objective",
            "heads 200 are more than the 128 dimensions",
        ),
        (
            "objective={kind: amcl, base: simsiam, queue: 64}",
            "objective",
            "queue is a setting of base moco, not of simsiam",
        ),
        (
            "objective={kind: composite, parts: [{objective: {kind: byol}}]}",
            "objective.parts",
            "at least 2 items",
        ),
        ("objective={variance: 1}", "objective.variance", "allowed: kind, projector, temperature"),
        ("objective={kind: vicreg, variance: -1}", "objective.variance", "greater than or equal"),
        (
            "objective={kind: vicreg, varianc: 1}",
            "objective.varianc",
            "is not a setting; did you mean variance?",
        ),
        ("views.flip=1.5", "views.flip", "less than or equal to 1"),
        ("views.crop_scale=[a, 1]", "views.crop_scale.0", "valid number"),
        ("views.crop_scale=[0.9, 0.1]", "views.crop_scale", "must be 0 < low <= high <= 1"),
        ("objective.projector=[]", "objective.projector", "at least 1 item"),
        ("train.optimizer.kind=adam", "train.optimizer.kind", "'adamw', 'sgd', 'lars' or 'lamb'"),
        ("train.optimizer.lr=.nan", "train.optimizer.lr", "greater than 0"),
        ("train.workers=two", "train.workers", "or a range"),
        ("encoder.args=[1]", "encoder.args", "valid dictionary"),
        ("encoder.features=hidden", "encoder.features.kind", "'sample' or 'decoder_hidden'"),
        (
            "encoder.features={kind: mean, layer: 1}",
            "encoder.features",
            "layer is a setting of kind decoder_hidden, not mean",
        ),
        (
            "encoder.features={kind: decoder_hidden, layers: 1}",
            "encoder.features.layers",
            "is not a setting; did you mean layer?",
        ),
        ("encoder.features=[mean]", "encoder.features", "one of pooled, mean, sample"),
        ("name=a b", "name", "should match pattern"),
        (
            "evaluate={train: a, test: b, features: [heads]}",
            "evaluate.features.0",
            "'projector', 'mean', 'sample' or 'decoder_hidden'",
        ),
        (
            "evaluate={train: a, test: b, probes: [knn, knn]}",
            "evaluate.probes",
            "each may be named once",
        ),
        ("evaluate={train: a, test: b, features: []}", "evaluate.features", "at least one"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    draft: Reader, override: str, where: str, part: str
) -> None:
    (problem,) = draft(override).problems
    assert problem.where == where
    assert part in problem.message


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs=0",
        "train={global_batch: 32}",
        "encoder.name=3",
        "data.shards=[1]",
        "data.shards=[]",
        "data.shards=[{path: a}, {path: b, wieght: 2}]",
    ],
)
def test_one_mistake_is_told_once(draft: Reader, override: str) -> None:
    assert len(draft(override).problems) == 1


def test_all_mistakes_of_the_file_are_told_at_once(draft: Reader) -> None:
    wrong = {
        "seed": "-1",
        "views.sise": "16",
        "views.flip": "2",
        "views.blur_sigma": "[2, 1]",
        "train.optimizer.lr": "0",
        "train.checkpoint.keep": "none",
        "tracking.experiment": "''",
    }
    found = draft(*(f"{where}={value}" for where, value in wrong.items()))
    told = {problem.where for problem in found.problems}
    assert told == wrong.keys() - {"views.blur_sigma"} | {"views"}
    assert found.recipe is not None
    assert found.recipe.train.epochs == 3


def test_a_name_cannot_lead_out_of_the_storage_folder(draft: Reader) -> None:
    assert draft("name=..").problems


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


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("train: [1\n", "is not YAML"),
        ("\0", "is not YAML"),
        ("- train\n", "is not a recipe"),
        ("", "is not a recipe"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=part) as error:
        draft_recipe(path)
    assert [problem.where for problem in error.value.problems] == [str(path)]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: cannot be read: No such file"):
        draft_recipe(tmp_path / "absent.yaml")


def test_every_malformed_override_is_told_at_once(draft: Reader) -> None:
    with pytest.raises(UserError) as error:
        draft("train.epochs", "=1", "data..shards=a", "seed=[1", "train.epochs=5")
    wheres = [problem.where for problem in error.value.problems]
    assert wheres == ["train.epochs", "=1", "data..shards=a", "seed"]


def test_a_misspelt_key_of_one_of_several_sets_has_a_suggestion(draft: Reader) -> None:
    (problem,) = draft("data.shards=[{path: a}, {path: b, wieght: 2}]").problems
    assert problem.where == "data.shards.1.wieght"
    assert "did you mean weight?" in problem.message
