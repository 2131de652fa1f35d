"""The JSON schema takes what the reader takes, and refuses the slips that it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from jsonschema import Draft7Validator
from typer.testing import CliRunner

import pipeline
from jobs.__main__ import app
from pipeline.json_schema import schema_as_text
from tests.objectives.cases import OBJECTIVES
from tests.recipe.conftest import SMALL

pytestmark = pytest.mark.fast

RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"
VALIDATOR = Draft7Validator(pipeline.recipe_schema())

SHORT = [
    {"seed": 3, "name": "first"},
    {"data": {"shards": "a"}},
    {"data": {"shards": [{"path": "a"}]}},
    {"data": {"shards": [{"path": "a", "weight": 1}, {"path": "b", "weight": 0.5}]}},
    {"data": {"shards": "a", "ingest_cpus": 0.5}},
    {"train": {"steps": 7}},
    {"train": {"epochs": 7, "steps": None}},
    {"train": {"epochs": 7, "workers": 2}},
    {"train": {"epochs": 7, "workers": [1, 4]}},
    {"train": {"epochs": 7, "checkpoint": {"best": {"metric": "loss", "mode": "min"}}}},
    {"views": {"crop_scale": [0.5, 1], "local": {"count": 2, "size": 16}}},
    {"views": {"kind": "image", "masks": {"kind": "multiblock"}}},
    {"views": {"masks": {}}},
    {"encoder": {"name": "resnet18", "args": {}, "features": "mean"}},
    {"encoder": {"name": "resnet18", "features": {"kind": "decoder_hidden", "layer": 0}}},
    {"encoder": {"name": "resnet18", "features": None}},
    {"objective": {}},
    {"objective": {"temperature": 0.1}},
    {"objective": {"temperature": 1}},
    {"objective": {"kind": "simclr", "temperature": {"start": 0.3, "end": 0.1}}},
    {"objective": {"kind": "moco", "ema": 0.9}},
    {"objective": {"kind": "moco", "ema": {"end": 1.0}}},
    {"objective": {"kind": "unigrad", "ema": None}},
    {"objective": {"kind": "simsiam", "ema": None, "predictor": []}},
    {"objective": {"kind": "amcl", "base": "moco", "ema": 0.9, "queue": 64}},
    {"objective": {"kind": "cmim", "decoder": "patches", "likelihood": "gaussian"}},
    {"objective": {"kind": "mim", "decoder": {"channels": [16, 8]}, "likelihood": {}}},
    {"objective": {"kind": "mim", "likelihood": {"kind": "gaussian", "scale": 0.2}}},
    {"pairs": None},
    {"pairs": {"miner": "dbpm", "arbiter": "uota"}},
    {"pairs": {"miner": {"kind": "dbpm", "warm_up": 2}, "arbiter": None}},
    {"evaluate": None},
    {"evaluate": {"train": "a", "test": "b", "probes": ["knn"], "features": ["pooled"]}},
    {"evaluate": {"on_collapse": "stop", "every": 2}},
    {"tracking": {"register": "encoder", "uri": None}},
]

SLIPS = [
    {"trian": {}},
    {"seed": -1},
    {"seed": True},
    {"name": ".."},
    {"data": None},
    {"data": {}},
    {"data": {"shards": 3}},
    {"data": {"shards": []}},
    {"data": {"shards": ["a"]}},
    {"data": {"shards": [{"path": "a", "wieght": 2}]}},
    {"data": {"shards": "a", "stream": 4}},
    {"data": {"shards": "a", "ingest_cpus": 0}},
    {"encoder": {}},
    {"encoder": {"name": 3}},
    {"encoder": {"name": "a", "args": [1]}},
    {"encoder": {"name": "a", "features": "hidden"}},
    {"encoder": {"name": "a", "features": ["mean"]}},
    {"encoder": {"name": "a", "features": {"kind": "decoder_hidden", "layers": 1}}},
    {"train": {}},
    {"train": {"epochs": 3, "steps": 3}},
    {"train": {"epochs": 0}},
    {"train": {"epochs": 3, "workers": 0}},
    {"train": {"epochs": 3, "workers": "two"}},
    {"train": {"epochs": 3, "workers": [1, 2, 3]}},
    {"train": {"epochs": 3, "precision": "fp16"}},
    {"train": {"epochs": 3, "optimizer": {"kind": "adam"}}},
    {"train": {"epochs": 3, "optimizer": {"lr": 0}}},
    {"train": {"epochs": 3, "optimizer": {"weight_deacy": 0}}},
    {"train": {"epochs": 3, "checkpoint": {"best": {"metric": "loss"}}}},
    {"views": {"flip": 1.5}},
    {"views": {"crop_scale": [0.5]}},
    {"views": {"crop_scale": ["a", 1]}},
    {"views": {"local": {"counts": 1}}},
    {"objective": "simclr"},
    {"objective": None},
    {"objective": {"kind": "sinclr"}},
    {"objective": {"tempreture": 1}},
    {"objective": {"temperature": 0}},
    {"objective": {"temperature": "warm"}},
    {"objective": {"temperature": {"start": 0.2, "ends": 0.1}}},
    {"objective": {"temperature": {"end": 0.1}}},
    {"objective": {"projector": 128}},
    {"objective": {"projector": []}},
    {"objective": {"variance": 1}},
    {"objective": {"kind": "moco", "ema": 1}},
    {"objective": {"kind": "moco", "ema": None}},
    {"objective": {"kind": "simsiam", "ema": {}}},
    {"objective": {"kind": "cmim", "decoder": "deconv"}},
    {"objective": {"kind": "cmim", "decoder": {"kind": "conv", "depth": 2}}},
    {"objective": {"kind": "cmim", "channels": 2}},
    {"objective": {"kind": "composite", "parts": [{"objective": {"kind": "byol"}}]}},
    {"objective": {"kind": "composite", "parts": [{"objective": {}}, {"objective": {}}]}},
    {"pairs": {"miner": "uota"}},
    {"pairs": {"arbiter": {}}},
    {"pairs": {"arbiter": {"kind": "uota", "temprature": 1}}},
    {"pairs": {"most": 0}},
    {"evaluate": {"max_sample": 100}},
    {"evaluate": {"features": ["heads"]}},
    {"tracking": {"registre": "digits"}},
    {"tracking": {"experiment": ""}},
]


def brief(part: dict[str, Any]) -> str:
    return json.dumps(part).replace('"', "")[1:-1]


def read(recipe: dict[str, Any]) -> pipeline.Recipe:
    return pipeline.load_recipe(deepcopy(recipe))


@pytest.mark.parametrize("part", SHORT, ids=brief)
def test_what_is_read_in_short_is_in_the_schema(part: dict[str, Any]) -> None:
    recipe = SMALL | part
    VALIDATOR.validate(recipe)
    VALIDATOR.validate(read(recipe).resolved())


@pytest.mark.parametrize("part", SLIPS, ids=brief)
def test_a_slip_is_refused_by_both(part: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(SMALL | part)
    with pytest.raises(pipeline.UserError):
        read(SMALL | part)


@pytest.mark.parametrize("missing", SMALL)
def test_what_a_recipe_cannot_do_without_is_missed(missing: str) -> None:
    recipe = {name: part for name, part in SMALL.items() if name != missing}
    assert [error.validator for error in VALIDATOR.iter_errors(recipe)] == ["required"]
    with pytest.raises(pipeline.UserError):
        read(recipe)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_in_the_schema_as_given_and_as_resolved(name: str) -> None:
    recipe = SMALL | {"objective": OBJECTIVES[name]}
    VALIDATOR.validate(recipe)
    VALIDATOR.validate(read(recipe).resolved())


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_recipe_names_the_schema_and_keeps_to_it(path: Path) -> None:
    first, *_ = path.read_text().splitlines()
    assert first == "# yaml-language-server: $schema=recipe.schema.json"
    VALIDATOR.validate(yaml.safe_load(path.read_text()))


def test_the_schema_is_one_of_the_draft_that_editors_read() -> None:
    Draft7Validator.check_schema(pipeline.recipe_schema())
    assert pipeline.recipe_schema()["$schema"] == Draft7Validator.META_SCHEMA["$schema"]


def test_the_shipped_schema_is_current() -> None:
    shipped = (RECIPES / "recipe.schema.json").read_text()
    assert shipped == schema_as_text(), "run `make reference`"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["schema", *map(str, arguments)])


def test_the_verb_prints_it_or_writes_it(tmp_path: Path) -> None:
    printed, lined = run(), run("--json")
    assert printed.stdout == schema_as_text()
    (line,) = lined.stdout.splitlines()
    assert json.loads(line) == pipeline.recipe_schema()
    path = tmp_path / "recipe.schema.json"
    written = run("--output", path, "--json")
    (line,) = written.stdout.splitlines()
    assert json.loads(line) == {"schema": str(path)}
    assert path.read_text() == schema_as_text()


def test_a_file_that_cannot_be_written_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "schema.json"
    refused = run("--output", path, "--json")
    assert refused.exit_code == 2
    problem = {"where": str(path), "message": "cannot be written: No such file or directory"}
    assert json.loads(refused.stdout) == {"errors": [problem]}


def test_the_verb_needs_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['jobs', 'schema']\n"
        "from jobs.__main__ import app\n"
        "app(standalone_mode=False)\n"
        "loaded = {'torch', 'ray', 'mlflow', 'timm', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "print(*loaded, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == pipeline.recipe_schema()
    assert done.stderr.split() == []
