"""A manifest knows its files, its ids and what its data is, wherever it lies."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.data.sources.convert import shard
from pipeline.data.sources.manifest import Shards, class_names, load_manifest, locate
from pipeline.data.sources.verify import verify
from pipeline.errors import UserError

pytestmark = pytest.mark.fast


def shards_of(folder: Path, *, pixels_seed: int = 0, **options: Any) -> Path:
    rng = np.random.default_rng(pixels_seed)
    images = rng.integers(0, 256, (25, 5, 5, 3), dtype=np.uint8)
    np.savez(folder / "src.npz", x=images, y=np.arange(25) % 4)
    name = f"shards-{len(list(folder.iterdir()))}"
    defaults: dict[str, Any] = {
        "kind": "tar",
        "samples_per_shard": 10,
        "test_fraction": 0.0,
        "seed": 0,
    }
    shard(folder / "src.npz", folder / name, **(defaults | options))
    return folder / name


def test_whole_shards_have_no_problem_by_folder_or_by_file(tmp_path: Path) -> None:
    for kind in ("tar", "parquet"):
        folder = shards_of(tmp_path, kind=kind)
        assert verify(folder) == verify(folder / "manifest.arrow") == []
        assert load_manifest(folder) == load_manifest(str(folder / "manifest.arrow"))


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("shard-000001.tar", "delete", "missing"),
        ("shard-000001.tar", "shorten", "bytes, the manifest says"),
        ("shard-000002.tar.index.parquet", "delete", "missing"),
        ("shard-000002.tar.index.parquet", "shorten", "not a Parquet file"),
        ("shard-000000.tar.index.parquet", "drop rows", "has 3 rows, the manifest says 10"),
    ],
)
def test_verify_names_the_damaged_file_and_only_that(
    tmp_path: Path, name: str, damage: str, says: str
) -> None:
    path = shards_of(tmp_path) / name
    if damage == "delete":
        path.unlink()
    elif damage == "shorten":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        pq.write_table(pq.read_table(path).slice(0, 3), path)
    (problem,) = verify(path.parent)
    assert problem.where == str(path)
    assert says in problem.message


def test_verify_lists_every_problem_at_once(tmp_path: Path) -> None:
    folder = shards_of(tmp_path)
    for path in folder.glob("shard-*"):
        path.unlink()
    assert len(verify(folder)) == 6


def test_verify_notices_ids_with_a_gap(tmp_path: Path) -> None:
    folder = shards_of(tmp_path)
    manifest = load_manifest(folder)
    *others, last = manifest.shards
    moved = Shards.of([*others, replace(last, first_id=21)])
    replace(manifest, shards=moved).save(folder)
    (problem,) = verify(folder)
    assert "starts at id 21, 20 expected" in problem.message


def test_a_folder_without_a_manifest_or_with_a_broken_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.arrow").write_text("{")
    for folder, says in ((tmp_path / "absent", "no manifest"), (tmp_path, "not a manifest")):
        with pytest.raises(UserError, match=says):
            load_manifest(folder)
        (problem,) = verify(folder)
        assert says in problem.message


def test_a_manifest_that_changed_on_disk_is_read_again(tmp_path: Path) -> None:
    folder = shards_of(tmp_path)
    manifest = load_manifest(folder)
    replace(manifest, shuffled=False).save(folder)
    assert manifest.shuffled
    assert not load_manifest(folder).shuffled


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    original = shards_of(tmp_path)
    shutil.copytree(original, tmp_path / "elsewhere")
    fingerprint = load_manifest(original).fingerprint
    assert load_manifest(tmp_path / "elsewhere").fingerprint == fingerprint
    assert load_manifest(shards_of(tmp_path)).fingerprint == fingerprint
    others = [
        load_manifest(shards_of(tmp_path, **options)).fingerprint
        for options in (
            {"pixels_seed": 1},
            {"seed": 1},
            {"samples_per_shard": 9},
            {"kind": "parquet"},
        )
    ]
    assert len({fingerprint, *others}) == 5


def test_boundaries_and_locate_agree_with_the_shards(tmp_path: Path) -> None:
    manifest = load_manifest(shards_of(tmp_path))
    boundaries = manifest.boundaries()
    assert boundaries.tolist() == [0, 10, 20, 25]
    shard, row = locate(boundaries, np.arange(25))
    firsts = np.array([s.first_id for s in manifest.shards])
    np.testing.assert_array_equal(firsts[shard] + row, np.arange(25))
    assert (row < np.array([s.samples for s in manifest.shards])[shard]).all()


def test_class_names_are_sorted_as_numbers_only_if_all_of_them_are() -> None:
    assert class_names(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert class_names(["b", "10", "9", "a"]) == ("10", "9", "a", "b")
    assert class_names([]) == ()
