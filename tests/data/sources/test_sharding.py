"""Shards hold every image's bytes and label untouched, in one global shuffle."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from pipeline.data.decode import Pixels, decode_image
from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.shard_reader import ShardReader, read_labels
from pipeline.data.sources import convert
from pipeline.data.sources.conversion.outcome import ShardingResult
from pipeline.data.sources.index import load_index
from pipeline.data.sources.manifest import Format, load_manifest
from pipeline.data.sources.verify import verify

pytestmark = pytest.mark.fast

FORMATS: tuple[Format, ...] = ("tar", "parquet")
CLASSES = ("ant", "bee", "cow")


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(number: int) -> bytes:
    buffer = io.BytesIO()
    kind = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")[number % 6]
    Image.fromarray(noise(6 + number % 3, 7, 3, seed=number)).save(buffer, kind)
    return buffer.getvalue()


ENCODED = [encoded(number) for number in range(36)]
LABELS = [CLASSES[number // 12] for number in range(36)]
TRUTH = dict(zip(ENCODED, LABELS, strict=True))


def image_folder(root: Path, *, loose: bool = False) -> Path:
    """36 images, in a folder for each class or all in one."""
    for number, (data, label) in enumerate(zip(ENCODED, LABELS, strict=True)):
        folder = root if loose else root / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:02d}.jpg").write_bytes(data)
    return root


def table(path: Path, images: pa.Array, labels: list[Any] = LABELS, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": labels, **more}), path)
    return path


def as_struct(images: list[bytes]) -> pa.Array:
    return pa.array([{"bytes": data, "path": "a.jpg"} for data in images])


def shard(source: Path, destination: Path, **options: Any) -> ShardingResult:
    return convert.shard(source, destination, **({"samples_per_shard": 10} | options))


def contents(folder: Path) -> list[tuple[bytes, str | None]]:
    """Bytes and class name of every sample, by sample id."""
    manifest = load_manifest(folder)
    with ShardReader(load_corpus((str(folder),))) as reader:
        data = reader.read(np.arange(manifest.samples))
        labels = read_labels(load_corpus((str(folder),)), at_most=manifest.samples).tolist()
    return [
        (image, manifest.classes[label] if label >= 0 else None)
        for image, label in zip(data, labels, strict=True)
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def a_table(folder: Path) -> Path:
    return table(folder / "t.parquet", pa.array(ENCODED))


def a_struct_table(folder: Path) -> Path:
    return table(folder / "t.parquet", as_struct(ENCODED))


def several_tables(folder: Path) -> Path:
    for part in range(3):
        rows = slice(12 * part, 12 * part + 12)
        table(folder / "many" / f"{part}.parquet", pa.array(ENCODED[rows]), LABELS[rows])
    return folder / "many"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("make", [image_folder, a_table, a_struct_table, several_tables])
def test_every_image_keeps_its_bytes_and_its_label(
    tmp_path: Path, make: Callable[[Path], Path], kind: Format
) -> None:
    result = shard(make(tmp_path / "src"), tmp_path / "out", kind=kind)
    found = contents(tmp_path / "out")
    assert len(found) == 36
    assert dict(found) == TRUTH
    assert not result.left_out
    manifest = result.manifests[""]
    assert load_manifest(tmp_path / "out") == manifest
    assert manifest.labelled
    assert manifest.classes == CLASSES
    assert [s.samples for s in manifest.shards] == [10, 10, 10, 6]
    assert [s.first_id for s in manifest.shards] == [0, 10, 20, 30]
    assert verify(tmp_path / "out") == []


def test_index_offsets_point_at_the_images_in_a_tar(tmp_path: Path) -> None:
    shard(image_folder(tmp_path / "src"), tmp_path / "out")
    found = []
    for part in load_manifest(tmp_path / "out").shards:
        data = (tmp_path / "out" / part.path).read_bytes()
        index = load_index(str(tmp_path / "out" / part.index_path))
        pairs = zip(index.offset.tolist(), index.size.tolist(), strict=True)
        found += [data[offset : offset + size] for offset, size in pairs]
        keys = [index.key(row) for row in range(part.samples)]
        assert all(key.split("/")[0] in CLASSES for key in keys)
    assert found == [data for data, _ in contents(tmp_path / "out")]


def test_webdataset_reads_the_same_samples_from_the_tar_shards(tmp_path: Path) -> None:
    shard(image_folder(tmp_path / "src"), tmp_path / "out")
    expected = contents(tmp_path / "out")
    paths = [str(tmp_path / "out" / s.path) for s in load_manifest(tmp_path / "out").shards]
    samples = [s for path in paths for s in webdataset.WebDataset(path, shardshuffle=False)]
    assert [int(sample["__key__"]) for sample in samples] == list(range(36))
    for sample, (data, label) in zip(samples, expected, strict=True):
        fields = {name: value for name, value in sample.items() if not name.startswith("__")}
        assert CLASSES[int(fields.pop("cls"))] == label
        assert list(fields.values()) == [data]
        assert set(fields) <= {"jpg", "png", "webp", "bmp", "gif", "tif"}


def test_any_reader_of_parquet_reads_the_same_samples(tmp_path: Path) -> None:
    shard(image_folder(tmp_path / "src"), tmp_path / "out", kind="parquet")
    shards = load_manifest(tmp_path / "out").shards
    rows = [row for s in shards for row in pq.read_table(tmp_path / "out" / s.path).to_pylist()]
    assert [(row["image"], CLASSES[row["label"]]) for row in rows] == contents(tmp_path / "out")


def test_images_are_read_by_id_in_any_order_and_more_than_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "src.npz", x=noise(300, 3, 3))
    for kind in FORMATS:
        shard(tmp_path / "src.npz", tmp_path / kind, kind=kind, samples_per_shard=170)
    ids = np.array([299, 0, 63, 64, 64, 170, 169, 128, 2])
    whole = contents(tmp_path / "tar")
    for kind in FORMATS:
        assert contents(tmp_path / kind) == whole
        with ShardReader(load_corpus((str(tmp_path / kind),))) as reader:
            assert reader.read(ids) == [whole[i][0] for i in ids]


def test_labels_come_from_a_csv_or_not_at_all(tmp_path: Path) -> None:
    src = image_folder(tmp_path / "src", loose=True)
    rows = "".join(f"{number:02d}.jpg,{label}\n" for number, label in enumerate(LABELS))
    (tmp_path / "labels.csv").write_text("file,label\n" + rows)
    shard(src, tmp_path / "csv", labels=str(tmp_path / "labels.csv"))
    assert dict(contents(tmp_path / "csv")) == TRUTH

    (src / ".hidden").mkdir()
    (src / "00.jpg").rename(src / ".hidden" / ".00.jpg")  # passed over, unless somebody names it
    (tmp_path / "labels.csv").write_text("file,label\n" + rows.replace("00.jpg", ".hidden/.00.jpg"))
    shard(src, tmp_path / "hidden", labels=str(tmp_path / "labels.csv"))
    assert sorted(contents(tmp_path / "hidden")) == sorted(TRUTH.items())
    (src / ".hidden" / ".00.jpg").rename(src / "00.jpg")

    for name, labels in (("loose", None), ("none", "none")):
        shard(src, tmp_path / name, labels=labels)
        assert dict(contents(tmp_path / name)) == dict.fromkeys(ENCODED)
        assert not load_manifest(tmp_path / name).labelled


def test_a_table_may_lack_some_labels_and_they_are_counted(tmp_path: Path) -> None:
    labels = [None, *LABELS[1:]]
    shard(table(tmp_path / "t.parquet", pa.array(ENCODED), labels), tmp_path / "out")
    assert dict(contents(tmp_path / "out")) == TRUTH | {ENCODED[0]: None}
    manifest = load_manifest(tmp_path / "out")
    assert (manifest.labelled, manifest.unlabelled) == (True, 1)


@pytest.mark.parametrize("shape", [(20, 5, 6), (20, 5, 6, 3)])
@pytest.mark.parametrize("keys", [(None, None), ("pixels", "digit")])
def test_arrays_of_an_npz_come_back_pixel_for_pixel(
    tmp_path: Path, shape: tuple[int, ...], keys: tuple[str | None, str | None]
) -> None:
    pixels, digits = noise(*shape), np.arange(20) % 11
    other = noise(*shape, seed=9) if keys[0] else np.zeros(3)
    np.savez(tmp_path / "a.npz", pixels=pixels, digit=digits, other=other)
    shard(tmp_path / "a.npz", tmp_path / "out", images=keys[0], labels=keys[1])
    truth = {image.tobytes(): str(digit) for image, digit in zip(pixels, digits, strict=True)}
    found = {}
    for data, label in contents(tmp_path / "out"):
        image = decode_image(data)
        found[(image if len(shape) == 4 else image[..., 0]).tobytes()] = label
    assert found == truth
    assert load_manifest(tmp_path / "out").classes == tuple(str(digit) for digit in range(11))


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_order(
    tmp_path: Path, kind: Format
) -> None:
    src = image_folder(tmp_path / "src")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        shard(src, tmp_path / name, kind=kind, seed=seed)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")
    assert dict(contents(tmp_path / "c")) == TRUTH


def test_classes_that_lie_sorted_in_the_source_are_mixed_in_every_shard(tmp_path: Path) -> None:
    shard(image_folder(tmp_path / "src"), tmp_path / "out", samples_per_shard=12)
    labels = [label for _, label in contents(tmp_path / "out")]
    assert all(len(set(labels[at : at + 12])) == 3 for at in (0, 12, 24))
    assert sum(a != b for a, b in itertools.pairwise(labels)) > 15


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_a_test_split_is_disjoint_and_has_its_share(tmp_path: Path, fraction: float) -> None:
    result = shard(image_folder(tmp_path / "src"), tmp_path / "out", test_fraction=fraction)
    test, train = (dict(contents(tmp_path / "out" / name)) for name in ("test", "train"))
    assert len(test) == round(36 * fraction)
    assert not set(test) & set(train)
    assert test | train == TRUTH
    assert set(result.manifests) == {"test", "train"}
    assert {m.classes for m in result.manifests.values()} == {CLASSES}


def test_a_table_in_several_units_and_runs_gives_the_same_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = several_tables(tmp_path)
    shard(source, tmp_path / "whole")
    monkeypatch.setattr("pipeline.data.sources.conversion.gathering._RUN_BYTES", 600)
    monkeypatch.setattr("pipeline.data.sources.conversion.samples._WINDOW_BYTES", 500)
    shard(source, tmp_path / "runs")
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "runs")


def test_several_tables_are_shuffled_as_one(tmp_path: Path) -> None:
    shard(several_tables(tmp_path), tmp_path / "parts")
    shard(a_table(tmp_path), tmp_path / "one")
    assert contents(tmp_path / "parts") == contents(tmp_path / "one")
