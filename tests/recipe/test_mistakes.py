"""All mistakes of a recipe's file are told at once, each with its place and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.recipe_file import draft_recipe
from tests.recipe.conftest import SMALL, Reader

pytestmark = pytest.mark.fast


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
        ("train.optimizer.lr=.nan", "train.optimizer.lr", "finite number"),
        ("train.optimizer.lr=.inf", "train.optimizer.lr", "finite number"),
        (
            "train.optimizer.lr=true",
            "train.optimizer.lr",
            "'true' is wrong: input should be a valid",
        ),
        ("seed=true", "seed", "'true' is wrong: input should be a valid integer"),
        ("train.micro_batch=false", "train.micro_batch", "valid integer"),
        ("pairs.most=.inf", "pairs.most", "finite number"),
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
        "train.optimizer.warmup": "true",
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
