"""Pairs that somebody else made: indexed where they lie, read by Ray and from a store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import storage
from pipeline.data.order.corpus import Corpus, load_corpus
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.assemble import Batch, BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import Ingest, inline
from pipeline.data.reading.ray_ingest import ray_data
from pipeline.data.reading.shard_reader import ShardReader, read_labels
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.foreign_shards import Contents, Fields, read_contents
from pipeline.data.sources.index import load_index
from pipeline.data.sources.indexing import IndexingResult, index_shards
from pipeline.data.sources.manifest import load_manifest
from pipeline.data.sources.parts import part_names
from pipeline.data.sources.verify import verify
from pipeline.errors import UserError
from pipeline.views.parameters import ImageViews, LocalViews
from tests.data.pairs import COUNT, LEFTS, RIGHTS, write_pairs
from tests.data.sources.test_indexing import write_tar

BOTH = "left,right"
Members = list[tuple[str, bytes | None]]


def indexed(source: Path | str, destination: Path | str, images: str | None) -> IndexingResult:
    fields = Fields(images=images)
    return index_shards(str(source), str(destination), fields=fields, progress=lambda count: None)


def pairs_of(folder: Path | str, *parts: str) -> list[tuple[bytes, ...]]:
    corpus = Corpus((str(folder),))  # one that is not remembered: manifests grow here
    with ShardReader(corpus, parts=parts) as shards:
        return shards.read_parts(np.arange(corpus.manifests[0].samples))


def members(numbers: Sequence[int]) -> Members:
    """Of pairs, in orders that differ."""
    found: Members = []
    for number in numbers:
        own: Members = [
            (f"{number:03d}.left.png", LEFTS[number]),
            (f"{number:03d}.right.PNG", RIGHTS[number]),
            (f"{number:03d}.cls", str(number % 2).encode()),
        ]
        found += own[number % 3 :] + own[: number % 3]
    return found


PAIRS = [*zip(LEFTS, RIGHTS, strict=True)]


@pytest.mark.usefixtures("local_ray")
def test_tars_are_indexed_and_shards_that_come_later_are_added(tmp_path: Path) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    write_tar(src / "a.tar", members(range(20)))
    lefts_first = sorted(members(range(20, 40)), key=lambda member: member[0].partition(".")[2])
    assert lefts_first[20][0] == "020.left.png"  # labels before: a pair's members lie far apart
    write_tar(src / "b.tar", lefts_first)
    manifest = indexed(src, out, BOTH).manifest
    assert manifest.parts == ("left", "right")
    assert verify(out) == []
    assert load_manifest(out) == manifest
    assert pairs_of(out, "left", "right") == PAIRS[:40]
    assert pairs_of(out, "right") == [(right,) for right in RIGHTS[:40]]
    assert read_labels(load_corpus((str(out),)), at_most=99).tolist() == [n % 2 for n in range(40)]
    write_tar(src / "c.tar", members(range(40, 45)))
    again = indexed(src, out, BOTH)
    assert again.read == 1
    assert pairs_of(out, "left", "right") == PAIRS[:45]
    for other, told in ((None, "not given"), ("right,left", "right,left"), ("png", "png")):
        with pytest.raises(UserError, match=rf"--images: {told}, but samples of .* are left,right"):
            indexed(src, out, other)
    write_tar(tmp_path / "one" / "a.tar", [("0.png", LEFTS[0])])
    indexed(tmp_path / "one", tmp_path / "one", None)
    with pytest.raises(UserError, match="are of one image"):
        indexed(tmp_path / "one", tmp_path / "one", BOTH)


def column_of(images: Sequence[bytes | None], how: str, folder: Path, prefix: str) -> pa.Array:
    if how == "binary":
        return pa.array(images, pa.binary())
    if how == "struct":
        return pa.array([{"path": "x", "bytes": image} for image in images])
    for number, image in enumerate(images):
        (folder / f"{prefix}{number}.png").write_bytes(image or b"")
    names = [i and f"{prefix}{number}.png" for number, i in enumerate(images)]
    return pa.array(names, pa.string())


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("how", ["binary", "struct", "path"])
def test_parquet_columns_are_parts_and_rows_that_lack_one_are_left_out(
    tmp_path: Path, how: str, statistics: bool
) -> None:
    lefts: list[bytes | None] = [*LEFTS[:40]]
    rights: list[bytes | None] = [*RIGHTS[:40]]
    lefts[3] = rights[5] = rights[29] = lefts[31] = rights[31] = None
    table = {
        "right": column_of(rights, how, tmp_path, "r"),
        "label": pa.array([n % 3 for n in range(40)]),
        "left": column_of(lefts, how, tmp_path, "l"),
    }
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table(table), file, row_group_size=16, write_statistics=statistics)
    result = indexed(tmp_path, tmp_path / "out", BOTH)
    assert dict(result.left_out) == {"lacks left": 1, "lacks right": 2, "no image": 1}
    assert result.examples["lacks right"] == str(file)
    whole = [n for n in range(40) if n not in (3, 5, 29, 31)]
    assert pairs_of(tmp_path / "out", "left", "right") == [PAIRS[n] for n in whole]
    (shard,) = result.manifest.shards
    keys = load_index(str(tmp_path / "out" / shard.index_path)).keys().to_pylist()
    assert keys == [f"{n:012d}" for n in whole]
    labels = read_labels(load_corpus((str(tmp_path / "out"),)), at_most=99)
    assert labels.tolist() == [n % 3 for n in whole]


@pytest.mark.usefixtures("local_ray")
def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"left": pa.array(LEFTS, pa.binary())}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="--images: right; columns of encoded images: left"):
        indexed(tmp_path, tmp_path / "out", BOTH)


def contents(path: Path, found: Members, images: str = BOTH) -> Contents:
    return read_contents(str(write_tar(path, found)), Fields(images=images))


@pytest.mark.fast
def test_tar_samples_that_lack_a_part_are_left_out_and_counted(tmp_path: Path) -> None:
    found = contents(
        tmp_path / "a.tar",
        [
            ("a.left.png", LEFTS[0]),
            ("a.right.jpg", RIGHTS[0]),
            ("b.left.png", LEFTS[1]),
            ("c.right.png", RIGHTS[2]),
            ("d.json", b"{}"),
            ("e.left.png", LEFTS[3]),
            ("e.left.png", LEFTS[4]),
            ("e.right.png", RIGHTS[3]),
            ("f.middle.png", LEFTS[5]),
            ("g.left.txt", b"no image's extension"),
            ("g.right.png", RIGHTS[6]),
            ("h.png", LEFTS[7]),
        ],
    )
    assert found.keys == ["a", "e"]
    assert dict(found.left_out) == {
        "duplicate key": 1,
        "lacks right": 1,
        "lacks left": 2,
        "no image": 3,
    }
    assert found.sizes == [len(LEFTS[0]), len(LEFTS[3])]
    assert found.further["right.size"] == [len(RIGHTS[0]), len(RIGHTS[3])]
    three = contents(tmp_path / "b.tar", [("a.x.png", b"1"), ("b.y.png", b"2")], "x,y,z")
    assert dict(three.left_out) == {"lacks y and z": 1, "lacks x and z": 1}


@pytest.mark.fast
def test_a_tar_that_ends_in_a_right_has_the_pairs_before_it(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [m for m in members(range(0, 9, 3)) if m[0][-3:] != "cls"])
    data = (tmp_path / "a.tar").read_bytes()
    at = data.rindex(RIGHTS[6][:40])
    (tmp_path / "a.tar").write_bytes(data[: at + 30])
    found = read_contents(str(tmp_path / "a.tar"), Fields(images=BOTH))
    assert found.keys == ["000", "003"]
    assert found.left_out["truncated"] == 1


@pytest.mark.fast
def test_names_of_parts() -> None:
    assert part_names(None) == part_names("image") == ()
    assert part_names("a,b,c") == ("a", "b", "c")
    wrong: Mapping[str, str] = {
        "left,": "a name between commas is empty",
        "left,Left": "a name is there twice",
        "left,kept": "kept cannot be a name",
    }
    for images, told in wrong.items():
        with pytest.raises(UserError) as caught:
            part_names(images)
        assert str(caught.value) == f"--images: {images}: {told}"


VIEWS = ImageViews.model_validate(
    {"size": 8, "from": ["left", "right"], "local": LocalViews(count=2, size=4)}
)


def batches(location: Path | str, read: Ingest, *, steps: int = 8) -> list[Batch]:
    plan = StreamPlan(seed=1, samples=COUNT, streams=2, global_batch=20, shuffle_window=30)
    reader = SliceReader(manifests=(str(location),), plan=plan, views=VIEWS)
    pieces = slices(plan, positions={0: 0, 1: 0}, step=0, total_steps=steps, per_stream=10)
    cursors = {0: Cursor(), 1: Cursor()}
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=steps)
    return list(assembler.batches(read(reader, pieces, cpus=2)))


def assert_same(some: list[Batch], others: list[Batch]) -> None:
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.sample_id, other.sample_id)
        for block, same in zip(one.views, other.views, strict=True):
            np.testing.assert_array_equal(block, same)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pairs in `tar` and in `parquet` shards."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "tar")
    write_pairs(folder / "parquet", "parquet")
    return folder


@pytest.mark.usefixtures("local_ray")
def test_both_ingests_give_bitwise_the_same_pairs(local: Path) -> None:
    assert_same(batches(local / "tar", ray_data), batches(local / "parquet", inline))


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_remote_pairs_are_the_local_ones_and_are_fetched_in_few_large_requests(
    local: Path, object_store: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = f"s3://data/pairs-{kind}?{object_store}"
    for file in (local / kind).iterdir():
        storage.write_file(storage.join(location, file.name), file.read_bytes())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a cache of the test's own
    sizes: list[int] = []
    read_range = storage.read_range

    def counted(location: str, start: int, stop: int) -> bytes:
        data = read_range(location, start, stop)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(storage, "read_range", counted)
    assert_same(batches(location, inline), batches(local / kind, inline))
    assert (tmp_path / f"shard-cache-{os.getuid()}").exists()
    assert sum(sizes) <= 1.2 * sum(shard.bytes for shard in load_manifest(location).shards)
    assert len(sizes) < COUNT / 4
