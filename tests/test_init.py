"""`init`: what it finds in a folder, and that what it writes can be trained with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from jsonschema import Draft7Validator
from PIL import Image
from typer.testing import CliRunner

import pipeline
from jobs.__main__ import app
from pipeline.data.decode import encode_png
from pipeline.planning import first_recipe
from pipeline.planning.check import checked_recipe
from pipeline.planning.first_recipe import init_recipe
from pipeline.planning.found_data import find_data
from pipeline.planning.machine import Machine

pytestmark = pytest.mark.fast

LAPTOP = Machine(cpus=4, gpus=0)
SERVER = Machine(cpus=32, gpus=2)
VALIDATOR = Draft7Validator(pipeline.recipe_schema())


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to work in, on a machine without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(first_recipe, "this_machine", lambda: LAPTOP)


def pictures(
    folder: Path, count: int, *, size: tuple[int, int] = (40, 34), grey: bool = False
) -> None:
    """So many pictures, each another one."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for number in range(count):
        pixels = draw.integers(0, 255, size=(*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels[..., 0] if grey else pixels).save(folder / f"{number}.png")


def planned(expected: list[str]) -> pipeline.Recipe:
    """The recipe that was written, after what it said comes first was done, and checked.

    Args:
        expected: words of the `shard` command; none if the data are shards.
    """
    text = Path("recipe.yaml").read_text()
    VALIDATOR.validate(yaml.safe_load(text))
    assert all(len(line) <= 140 for line in text.splitlines())
    if expected:
        source, destination, *fraction = expected
        pipeline.shard(source, destination, test_fraction=float(fraction[1]) if fraction else 0.0)
    return checked_recipe("recipe.yaml")


def shard_words(commands: list[str]) -> list[str]:
    """What `shard` is called with, and that `plan` and `pretrain` follow."""
    *shard, plan, pretrain = commands
    assert [plan, pretrain] == [f"python -m jobs {v} recipe.yaml" for v in ("plan", "pretrain")]
    return shard[0].removeprefix("python -m jobs shard ").split() if shard else []


def test_folders_are_classes_but_for_hidden_ones_and_what_macos_leaves() -> None:
    for name, count in (("cats", 40), ("dogs", 30), ("__MACOSX", 1), (".thumbnails", 1)):
        pictures(Path("photos", name), count)
    shutil.copy("photos/cats/0.png", "photos/cats/._0.png")
    Path("photos/readme.txt").touch()
    found = find_data("photos")
    assert (found.kind, found.samples, found.classes) == ("folder", 70, 2)
    assert (found.side, found.grey) == (34, False)
    words = shard_words(init_recipe("photos").commands)
    assert words == ["photos", "shards", "--test-fraction", "0.2"]
    recipe = planned(words)
    assert pipeline.plan(recipe).samples == 56
    assert recipe.evaluate.sets == tuple(
        str(Path("shards", n).absolute()) for n in ("train", "test")
    )
    assert (recipe.views.size, recipe.tracking.register_as) == (32, "photos-encoder")


def test_a_flat_folder_has_no_labels_and_no_probes() -> None:
    pictures(Path("my photos"), 10, grey=True)
    found = find_data("my photos")
    assert (found.samples, found.classes, found.grey) == (10, 0, True)
    commands = init_recipe("my photos").commands
    assert commands[0] == "python -m jobs shard 'my photos' shards"
    recipe = planned(["my photos", "shards"])
    assert recipe.evaluate.sets is None
    assert recipe.views.grayscale == 0
    assert recipe.tracking.experiment == "my-photos"


def test_a_handful_of_pictures_can_be_planned_for() -> None:
    for count in (2, 3, 7):
        pictures(Path(f"{count}", "a"), count)
        first = init_recipe(str(count), force=True)
        assert planned(shard_words(first.commands)).train.global_batch <= count


def test_an_npz(clipart: Path) -> None:
    found = find_data(str(clipart))
    assert (found.kind, found.samples, found.classes) == ("npz", 300, 12)
    assert (found.side, found.grey) == (32, False)
    recipe = planned(shard_words(init_recipe(clipart).commands))
    assert recipe.evaluate.sets is not None
    assert recipe.train.global_batch == 32


def test_a_parquet_table() -> None:
    draw = np.random.default_rng(0)
    images = [encode_png(draw.integers(0, 255, (70, 90, 3), dtype=np.uint8)) for _ in range(60)]
    rows = [{"bytes": data, "path": None} for data in images]
    Path("table").mkdir()
    for part in range(2):
        table = pa.table({"image": rows, "label": [number % 3 for number in range(60)]})
        pq.write_table(table, f"table/{part}.parquet")
    found = find_data("table")
    assert (found.kind, found.samples, found.classes, found.side) == ("parquet", 120, 3, 70)
    assert planned(shard_words(init_recipe("table").commands)).views.size == 64


def test_shards_that_are_there(clipart_shards: Path) -> None:
    for location in (clipart_shards, clipart_shards / "train"):
        found = find_data(str(location))
        assert (found.kind, found.samples, found.classes) == ("shards", 240, 12)
        assert shard_words(init_recipe(location, force=True).commands) == []
        recipe = planned([])
        assert recipe.data.manifests == (str(clipart_shards / "train"),)
        assert recipe.evaluate.sets == tuple(str(clipart_shards / n) for n in ("train", "test"))


def test_shards_without_a_second_set_have_no_probes(clipart_shards: Path) -> None:
    shutil.copytree(clipart_shards / "test", "made")
    init_recipe("made")
    assert "there is no second set beside these" in Path("recipe.yaml").read_text()
    recipe = planned([])
    assert (recipe.evaluate.sets, recipe.data.manifests) == (None, (str(Path("made").absolute()),))


def test_shards_in_an_object_store(clipart: Path, object_store: str, tmp_path: Path) -> None:
    from pipeline.data import storage

    pipeline.shard(clipart, tmp_path / "made")
    for path in (tmp_path / "made").iterdir():
        storage.write_file(f"s3://made/init/{path.name}?{object_store}", path.read_bytes())
    found = find_data(f"s3://made/init?{object_store}")
    assert (found.kind, found.samples, found.classes, found.side) == ("shards", 300, 12, 32)


def test_without_data_it_has_placeholders() -> None:
    first = init_recipe()
    assert (first.data, len(first.commands)) == (None, 3)
    text = first.recipe.read_text()
    assert text.count("SET THIS") == 4
    VALIDATOR.validate(yaml.safe_load(text))
    assert pipeline.load_recipe(first.recipe).data.manifests == ("shards/train",)


def test_the_editor_finds_the_schema_beside_the_recipe() -> None:
    Path("recipes").mkdir()
    first = init_recipe(output="recipes/first.yaml")
    assert first.schema is not None
    assert json.loads(first.schema.read_text()) == pipeline.recipe_schema()
    top = first.recipe.read_text().splitlines()[0]
    assert top == "# yaml-language-server: $schema=recipe.schema.json"
    assert (first.recipe.parent / top.partition("=")[2]).samefile(first.schema)


def test_a_schema_of_somebody_else_is_left_alone() -> None:
    Path("recipe.schema.json").write_text('{"title": "Recipe of a cake"}')
    first = init_recipe()
    assert first.schema is None
    assert "Recipe of a cake" in Path("recipe.schema.json").read_text()
    assert "$schema" not in first.recipe.read_text()


def test_shards_go_where_nothing_is(clipart: Path) -> None:
    Path("shards").mkdir()
    words = shard_words(init_recipe(clipart).commands)
    assert words[1] == "openclipart_ci_32-shards"
    assert "openclipart_ci_32-shards/train" in Path("recipe.yaml").read_text()


def wrong(make: Callable[[], object]) -> str:
    with pytest.raises(pipeline.UserError) as error:
        make()
    (problem,) = error.value.problems
    return str(problem)


def test_what_holds_no_images_is_named() -> None:
    Path("empty").mkdir()
    Path("text").mkdir()
    Path("text/notes.txt").touch()
    Path("notes.txt").touch()
    assert wrong(lambda: find_data("absent")) == "absent: does not exist"
    assert wrong(lambda: find_data("empty")).startswith("empty: holds neither image files")
    assert wrong(lambda: find_data("text")).startswith("text: holds neither image files")
    assert "is neither a folder" in wrong(lambda: find_data("notes.txt"))
    Path("empty/a.tar").touch()
    assert "make one with `python -m jobs shard --index SRC DEST`" in wrong(
        lambda: find_data("empty")
    )
    np.savez("text/a.npz", x=np.zeros((2, 8, 8), dtype=np.uint8), y=np.zeros((2, 8, 8), np.uint8))
    assert "give an .npz by its own path" in wrong(lambda: find_data("text"))
    several = wrong(lambda: find_data("text/a.npz"))
    assert "has 2 arrays of images (x, y)" in several
    assert "tell `python -m jobs shard`, then give init its shards" in several
    Path("text/a.jpg").write_bytes(b"no image")
    assert "none of 1 images that were looked at" in wrong(lambda: find_data("text"))


def test_a_recipe_is_not_replaced_unless_told() -> None:
    Path("recipe.yaml").write_text("mine")
    assert "recipe.yaml: is there already" in wrong(init_recipe)
    assert Path("recipe.yaml").read_text() == "mine"
    init_recipe(force=True)
    assert pipeline.load_recipe("recipe.yaml")
    assert "absent/a.yaml: cannot be written" in wrong(lambda: init_recipe(output="absent/a.yaml"))


def test_a_name_that_is_no_utf_8_costs_no_recipe() -> None:
    Path("recipe.yaml").write_text("mine")
    folder = Path(os.fsdecode(b"caf\xe9"))
    pictures(folder / "a", 12)
    assert "is not UTF-8" in wrong(lambda: init_recipe(str(folder), force=True))
    assert Path("recipe.yaml").read_text() == "mine"
    assert not list(Path().glob(".*partial*"))


def test_a_recipe_that_is_there_and_data_that_is_not_are_told_together() -> None:
    Path("recipe.yaml").write_text("mine")
    with pytest.raises(pipeline.UserError) as error:
        init_recipe("absent", "recipe.yaml")
    assert [problem.where for problem in error.value.problems] == ["recipe.yaml", "absent"]
    assert Path("recipe.yaml").read_text() == "mine"


def test_the_verb_says_what_it_found_and_what_comes_next() -> None:
    pictures(Path("photos", "a"), 12)
    told = CliRunner().invoke(app, ["init", "--data", "photos", "--output", "a.yaml", "--json"])
    (line,) = told.stdout.splitlines()
    result = json.loads(line)
    assert result["recipe"] == str(Path("a.yaml").absolute())
    assert result["data"]["samples"] == 12
    assert result["machine"] == {"cpus": 4, "gpus": 0}
    assert result["commands"] == [
        "python -m jobs shard photos shards",
        "python -m jobs plan a.yaml",
        "python -m jobs pretrain a.yaml",
    ]
    shown = CliRunner().invoke(app, ["init", "--data", "photos", "--force"]).stdout
    assert "12 image files, 1 class, shorter side 34 px" in shown
    assert "\n  python -m jobs shard photos shards\n  python -m jobs plan recipe.yaml\n" in shown


@pytest.mark.parametrize("data", ["absent", "empty"])
def test_a_folder_without_images_is_one_mistake(data: str) -> None:
    Path("empty").mkdir()
    refused = CliRunner().invoke(app, ["init", "--data", data, "--json"])
    assert refused.exit_code == 2
    (error,) = json.loads(refused.stdout)["errors"]
    assert error["where"] == data
    assert not Path("recipe.yaml").exists()


def test_it_needs_no_heavy_library() -> None:
    pictures(Path("photos"), 2)
    code = (
        "import sys, pipeline\n"
        "pipeline.init_recipe('photos')\n"
        "print(*{'torch', 'ray', 'mlflow', 'timm', 'sklearn', 'scipy'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
