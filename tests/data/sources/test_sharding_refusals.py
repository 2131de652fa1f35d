"""Sources that are partly or wholly wrong: what is left out is counted, what is refused leaves
nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.decode import Pixels, encode_png
from pipeline.data.sources import convert
from pipeline.data.sources.conversion.outcome import ShardingResult
from pipeline.data.sources.manifest import load_manifest
from pipeline.errors import UserError

pytestmark = pytest.mark.fast

NOT_IMAGES = {"a.jpg": b"", "b.png": b"<html>gone</html>", "c.png": b"more text"}


def picture(seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def pictures(count: int) -> dict[str, bytes]:
    return {f"{number}.png": encode_png(picture(number)) for number in range(count)}


def shard(source: Path, destination: Path, **options: Any) -> ShardingResult:
    return convert.shard(source, destination, **({"samples_per_shard": 4} | options))


def assert_refused(source: Path, destination: Path, says: str, **options: Any) -> None:
    before = sorted(destination.parent.iterdir())
    with pytest.raises(UserError, match=says):
        shard(source, destination, **options)
    assert sorted(destination.parent.iterdir()) == before


def test_unreadable_files_are_left_out_and_counted_by_reason(tmp_path: Path) -> None:
    cut = encode_png(picture(99))[:60]
    src = folder_of(tmp_path / "src", pictures(9) | NOT_IMAGES | {"d.png": cut})
    result = shard(src, tmp_path / "out")
    assert load_manifest(tmp_path / "out").samples == 9
    assert result.left_out == {"empty file": 1, "not an image": 2, "damaged image": 1}
    assert result.examples["empty file"] == "a.jpg"
    assert result.examples["not an image"] in {"b.png", "c.png"}
    assert result.examples["damaged image"] == "d.png"


def test_progress_counts_every_file_once_readable_or_not(tmp_path: Path) -> None:
    counts: dict[str, list[int]] = {}

    def begin(doing: str, total: int | None) -> Callable[[int, int], None]:
        counts[doing] = []
        return lambda samples, size: counts[doing].append(samples)

    source = folder_of(tmp_path / "src", pictures(9) | NOT_IMAGES)
    shard(source, tmp_path / "out", progress=begin)
    assert {doing: sum(done) for doing, done in counts.items()} == {"listing": 12, "sharding": 12}
    assert len(counts["sharding"]) == 3


def test_rows_of_a_table_without_bytes_are_left_out(tmp_path: Path) -> None:
    rows = [{"bytes": data, "path": "p"} for data in pictures(5).values()]
    images = pa.array(
        [*rows, {"bytes": None, "path": "elsewhere.jpg"}, {"bytes": b"?", "path": ""}]
    )
    pq.write_table(pa.table({"image": images}), tmp_path / "t.parquet")
    result = shard(tmp_path / "t.parquet", tmp_path / "out")
    assert load_manifest(tmp_path / "out").samples == 5
    assert result.left_out == {"empty file": 1, "not an image": 1}


def test_files_that_are_no_images_by_name_are_not_samples(tmp_path: Path) -> None:
    more = {"notes.txt": b"hello", "sub/Thumbs.db": b"x", "sub/UPPER.PNG": encode_png(picture(8))}
    source = folder_of(tmp_path / "src", pictures(3) | more)
    assert shard(source, tmp_path / "out").manifests[""].samples == 4


def test_a_folder_without_a_readable_image_leaves_nothing_behind(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "src", NOT_IMAGES)
    assert_refused(source, tmp_path / "out", "no readable image.*not an image")


def test_a_split_that_leaves_a_set_empty_leaves_nothing_behind(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "src", pictures(3))
    assert_refused(source, tmp_path / "out", "leaves one of the two sets empty", test_fraction=0.1)
    assert_refused(source, tmp_path / "out", "leaves one of the two sets empty", test_fraction=0.99)


def test_a_destination_that_holds_something_is_left_as_it_was(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "src", pictures(3))
    folder_of(tmp_path / "out", {"mine.txt": b"precious"})
    assert_refused(source, tmp_path / "out", "already holds something")
    assert (tmp_path / "out" / "mine.txt").read_bytes() == b"precious"
    (tmp_path / "file").write_text("not a folder")
    assert_refused(source, tmp_path / "file", "already holds something")


def test_an_empty_destination_is_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    shard(folder_of(tmp_path / "src", pictures(3)), tmp_path / "out")
    assert load_manifest(tmp_path / "out").samples == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "src"]


def test_a_source_that_is_missing_empty_or_of_no_known_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    folder_of(tmp_path, {"list.txt": b"a.png", "fake.npz": b"hello"})
    for name, says in (
        ("absent", "does not exist"),
        ("empty", "holds no image"),
        ("list.txt", "is not a folder"),
        ("fake.npz", "cannot be read"),
    ):
        with pytest.raises(UserError, match=f"{name}.*{says}"):
            shard(tmp_path / name, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_csv_of_labels_that_does_not_fit_is_named(tmp_path: Path) -> None:
    src = folder_of(tmp_path / "src", pictures(3))
    folder_of(
        tmp_path,
        {"columns.csv": b"name,class\n0.png,x\n"},
    )
    for name, says in (
        ("columns.csv", r"columns\.csv.*file and label"),
        ("absent.csv", "--labels.*absent"),
        ("folder", "--labels.*no sub-folder"),
    ):
        labels = name if name == "folder" else str(tmp_path / name)
        with pytest.raises(UserError, match=says):
            shard(src, tmp_path / "out", labels=labels)


def test_a_key_that_an_npz_does_not_have_is_named_with_those_it_has(tmp_path: Path) -> None:
    images = np.stack([picture(0), picture(1)])
    np.savez(tmp_path / "two.npz", left=images, right=images, y=np.arange(2), z=np.arange(3))
    np.savez(tmp_path / "float.npz", x=images.astype(np.float32))
    np.savez(tmp_path / "objects.npz", x=images, y=np.array(["a", None], dtype=object))
    for name, keys, says in (
        ("two.npz", {}, "--images.*left, right"),
        ("two.npz", {"images": "middle"}, "--images.*middle.*left, right"),
        ("two.npz", {"images": "left", "labels": "z"}, "--labels.*z"),
        ("two.npz", {"images": "left", "labels": "nothing"}, "--labels.*nothing"),
        ("float.npz", {}, "--images.*no uint8 array.*x"),
        ("objects.npz", {}, "--labels.*objects.npz: y holds pickled objects"),
        ("float.npz", {"images": "x"}, "--images.*x"),
    ):
        with pytest.raises(UserError, match=says):
            shard(tmp_path / name, tmp_path / "out", **keys)


def test_a_column_that_a_table_does_not_have_is_named_with_those_it_has(tmp_path: Path) -> None:
    data = pa.array([b"1", b"2"])
    pq.write_table(pa.table({"left": data, "right": data, "n": [1, 2]}), tmp_path / "t.parquet")
    for keys, says in (
        ({}, "--images.*left, right"),
        ({"images": "n"}, "--images.*n;.*left, right"),
        ({"images": "left", "labels": "kind"}, "--labels.*kind.*left, right, n"),
    ):
        with pytest.raises(UserError, match=says):
            shard(tmp_path / "t.parquet", tmp_path / "out", **keys)
