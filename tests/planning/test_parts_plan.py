"""What `views.from` may say, by what the manifests have."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import pipeline
from pipeline.errors import UserError
from pipeline.planning.check import checked_recipe
from tests.conftest import SMALL, Checker
from tests.data.pairs import LEFTS, RIGHTS, write_pairs, write_set

pytestmark = pytest.mark.fast

LEJEPA = "objective={kind: lejepa, projector: [32, 16]}"  # takes any number of views


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, the same the other way round with a third image, and lefts alone."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "pairs")
    write_set(folder / "three", RIGHTS, LEFTS, LEFTS, parts=("right", "left", "top"))
    write_set(folder / "one", LEFTS)
    return folder


@pytest.fixture
def recipe(tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(SMALL | {"data": {"shards": f"{pairs}/pairs"}}))
    return path


def test_pairs_need_a_word_of_what_views_are_drawn_from(problems: Checker, pairs: Path) -> None:
    assert problems() == {
        "views.from": f"null, but a sample of {pairs}/pairs is the images left, right; allowed: "
        "[left, right], or one alone, [left]"
    }


def test_images_that_are_not_there_are_named_with_those_that_are(
    problems: Checker, pairs: Path
) -> None:
    assert problems("views.from=[left, middle, left, lower]", "views.count=4", LEJEPA) == {
        "views.from": f"[left, middle, left, lower], but a sample of {pairs}/pairs has no middle "
        "and no lower; it is the images left, right"
    }


def test_one_image_has_no_parts(problems: Checker, pairs: Path) -> None:
    assert problems("views.from=[left, right]", f"data.shards={pairs}/one") == {
        "views.from": f"[left, right], but a sample of {pairs}/one is one image; allowed: null"
    }


def test_every_manifest_must_have_the_images(problems: Checker, pairs: Path, recipe: Path) -> None:
    both = f"data.shards=[{{path: {pairs}/pairs}}, {{path: {pairs}/three}}]"
    checked_recipe(recipe, [both, "views.from=[left, right]"])
    found = problems(both, "views.from=[left, top]")["views.from"]
    assert found.startswith(f"[left, top], but a sample of {pairs}/pairs has no top")
    one = f"data.shards=[{{path: {pairs}/pairs}}, {{path: {pairs}/one}}]"
    found = problems(one, "views.from=[left]")["views.from"]
    assert found.startswith(f"[left], but a sample of {pairs}/one is one image")


def test_views_come_from_all_equally_often(problems: Checker) -> None:
    assert problems("views.count=3", "views.from=[left, right]") == {
        "views": "count must be a multiple of the 2 names in from, [left, right], got 3"
    }
    assert set(problems("views.from=[]")) == {"views.from"}
    assert set(problems("views.from=left")) == {"views.from"}


@pytest.mark.parametrize(
    "settings",
    [
        ["views.from=[left, right]"],
        ["views.from=[right]"],
        ["views.from=[right, left]", "views.count=4", LEJEPA],
        ["views.from=[left, left, right]", "views.count=3", LEJEPA],
        ["views.from=[left, right]", "views.local={count: 3, size: 8}", LEJEPA],
    ],
)
def test_what_fits(recipe: Path, settings: list[str]) -> None:
    assert checked_recipe(recipe, settings).views.parts


def test_batches_are_refused_alike(pairs: Path) -> None:
    recipe = pipeline.load_recipe(SMALL | {"data": {"shards": f"{pairs}/pairs"}})
    with pytest.raises(UserError, match=r"views\.from: null"):
        next(pipeline.batches(recipe))


def test_init_draws_a_view_of_each_of_two(tmp_path: Path, pairs: Path) -> None:
    for name, names in (("pairs", ("left", "right")), ("three", ("right", "left"))):
        path = tmp_path / f"{name}.yaml"
        pipeline.init_recipe(pairs / name, path)
        assert checked_recipe(path).views.parts == names
    pipeline.init_recipe(pairs / "one", tmp_path / "one.yaml")
    assert checked_recipe(tmp_path / "one.yaml").views.parts is None
