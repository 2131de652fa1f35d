"""`plan` says when reducing photographs once would pay, and is silent where it would not."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import pipeline
from pipeline.data import storage
from pipeline.data.sources.manifest import Manifest, Shard, Shards
from pipeline.planning.photographs import enough_side, warnings
from pipeline.planning.plan import plan_recipe
from pipeline.recipe import Recipe
from pipeline.views.parameters import ImageViews, LocalViews, draw_crops
from tests.conftest import SMALL

pytestmark = pytest.mark.fast

CHINA = load_sample_image("china.jpg")
COUNT = 40


def jpeg(width: int) -> bytes:
    buffer = io.BytesIO()
    pixels = cv2.resize(CHINA, (width, width * 2 // 3))
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


LARGE, SMALLER = jpeg(2000), jpeg(500)


def write(folder: Path, images: Iterable[bytes]) -> None:
    folder.mkdir()
    for number, data in enumerate(images):
        (folder / f"{number:03d}.jpg").write_bytes(data)


Making = Callable[..., Path]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Making:
    """Shards of files, made once for each name."""
    folder = tmp_path_factory.mktemp("photographs")

    def make(name: str, images: list[bytes], kind: str = "tar") -> Path:
        made = folder / f"{name}-{kind}"
        if not made.exists():
            if not (folder / name).exists():
                write(folder / name, images)
            pipeline.shard(folder / name, made, kind=kind, samples_per_shard=25)
        return made

    return make


def recipe_of(*shards: Path | str, views: dict[str, Any] | None = None) -> Recipe:
    return Recipe.model_validate(
        SMALL
        | {
            "data": {"shards": [{"path": str(path)} for path in shards], "streams": 4},
            "views": views or {"size": 32},
            "train": {"epochs": 1, "global_batch": 8},
        }
    )


def told(*shards: Path | str, views: dict[str, Any] | None = None) -> list[str]:
    return list(warnings(recipe_of(*shards, views=views)))


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_large_photographs_are_told_with_what_reducing_them_is_worth(
    shards: Making, kind: str
) -> None:
    (text,) = told(shards("large", [LARGE] * COUNT, kind))
    assert text.startswith("data.shards: photographs have 2,000 px on the longer side on average")
    found = re.search(
        r"--max-side (\d+)` would .* (\d+) times as fast \(timed on 3 of them\)", text
    )
    assert found
    assert int(found[1]) == enough_side(ImageViews(size=32))
    assert int(found[2]) >= 3  # pixels are 244 times as many


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_small_ones_and_large_views_are_no_matter(shards: Making, kind: str) -> None:
    assert told(shards("small", [SMALLER] * COUNT, kind), views={"size": 96}) == []
    large = shards("large", [LARGE] * COUNT, kind)
    assert told(large, views={"size": 32, "crop_scale": [0.001, 1.0]}) == []


def test_each_set_is_told_by_its_number_and_a_few_large_ones_do_not_count(shards: Making) -> None:
    large = shards("large", [LARGE] * COUNT)
    mixed = shards("mixed", [LARGE] * 2 + [SMALLER] * (COUNT - 2))
    (text,) = told(mixed, large, views={"size": 96})
    assert text.startswith("data.shards[1]: ")


def test_the_plan_has_it_among_its_warnings(shards: Making) -> None:
    recipe = recipe_of(shards("large", [LARGE] * COUNT))
    (text,) = [text for text in plan_recipe(recipe).warnings if "--max-side" in text]
    assert text.startswith("data.shards: photographs have")


def listed(folder: Path, column: pa.Array, name: str = "cells.parquet") -> Path:
    """A manifest over somebody else's table, not shuffled."""
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": column}), folder / name)
    shard = Shard(
        path=name,
        format="parquet",
        samples=len(column),
        bytes=(folder / name).stat().st_size,
        first_id=0,
        sha256="0",
    )
    Manifest(shards=Shards.of([shard]), shuffled=False).save(folder)
    return folder


def test_cells_of_bytes_structs_and_paths_are_told_and_bad_ones_passed_over(
    tmp_path: Path,
) -> None:
    (tmp_path / "large.jpg").write_bytes(LARGE)
    torn = [b"\xff\xd8\xff" + bytes(200), b"no image", b"", None]
    cells = {
        "bytes": pa.array([*torn, LARGE, LARGE]),
        "structs": pa.array([{"bytes": LARGE, "path": None}, {"bytes": None, "path": "x"}]),
        "paths": pa.array(["../large.jpg"] * 3),
    }
    for name, column in cells.items():
        assert len(told(listed(tmp_path / name, column))) == 1, name
    only_torn = pa.array(torn)
    assert told(listed(tmp_path / "torn", only_torn)) == []


def test_a_photograph_that_is_torn_behind_its_header_is_not_timed(tmp_path: Path) -> None:
    torn = LARGE[: len(LARGE) // 2]
    assert told(listed(tmp_path / "all", pa.array([torn] * 5))) == []
    assert len(told(listed(tmp_path / "one", pa.array([torn, LARGE])))) == 1


def test_shards_that_are_gone_or_damaged_are_no_plans_death(tmp_path: Path) -> None:
    folder = listed(tmp_path / "cells", pa.array([LARGE] * 3))
    assert len(told(folder)) == 1
    table = folder / "cells.parquet"
    table.write_bytes(table.read_bytes()[:1000])
    assert told(folder) == []
    table.unlink()
    assert told(folder) == []


def test_little_is_asked_of_a_store(
    shards: Making, object_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = shards("large", [LARGE] * COUNT)
    remote = f"s3://data/photographs?{object_store}"
    for path in local.iterdir():
        storage.upload(path, storage.join(remote, path.name))
    read, ranges = storage.read_range, []

    def noting(location: str, start: int, stop: int) -> bytes:
        ranges.append(stop - start)
        return read(location, start, stop)

    monkeypatch.setattr(storage, "read_range", noting)
    assert len(told(remote)) == 1
    assert len([size for size in ranges if size > 65536]) == 3
    assert len(ranges) < 32 + 3


@pytest.mark.parametrize("size", [32, 96, 224])
@pytest.mark.parametrize("low", [0.05, 0.2, 0.9])
@pytest.mark.parametrize("local", [False, True])
def test_no_crop_of_a_photograph_that_is_large_enough_has_fewer_pixels_than_its_view(
    size: int, low: float, local: bool
) -> None:
    small = LocalViews(count=1, size=size // 2, crop_scale=(0.05, 0.4)) if local else None
    views = ImageViews(size=size, crop_scale=(low, 1.0), local=small)
    side = enough_side(views)
    assert side % 64 == 0
    ids = np.arange(3000)
    sizes = np.tile([side * 3 // 4, side], (len(ids), 1))
    for view in range(views.count + local):
        wanted = size // 2 if view == views.count else size
        crops = draw_crops(views, seed=0, epoch=0, sample_ids=ids, view=view, sizes=sizes)
        assert (np.sqrt(crops[:, 2] * crops[:, 3]) > wanted - 1).all()
