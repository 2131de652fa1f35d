"""Shards that somebody else made: indexed in place, in parallel, again and again."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.decode import decode_image, encode_png
from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.shard_reader import ShardReader, read_labels
from pipeline.data.sources.foreign_shards import Fields, read_contents
from pipeline.data.sources.indexing import IndexingResult, find_shards, index_shards
from pipeline.data.sources.manifest import load_manifest
from pipeline.data.sources.verify import verify
from pipeline.errors import UserError

PICTURES = [
    encode_png(image)
    for image in np.random.default_rng(0).integers(0, 256, (40, 5, 7, 3), dtype=np.uint8)
]


def write_tar(path: Path, members: Iterable[tuple[str, bytes | None]]) -> Path:
    """A tar of files, and of folders where the bytes are None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            if data is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data or b""))
    return path


def samples(numbers: range, prefix: str = "") -> list[tuple[str, bytes | None]]:
    """Members of samples, image first in every other one, label by its parity."""
    members: list[tuple[str, bytes | None]] = []
    for number in numbers:
        pair = [
            (f"{prefix}{number:04d}.png", PICTURES[number]),
            (f"{prefix}{number:04d}.cls", str(number % 2).encode()),
        ]
        members += pair if number % 2 else pair[::-1]
    return members


def indexed(source: Path, destination: Path, **fields: str) -> IndexingResult:
    return index_shards(
        str(source), str(destination), fields=Fields(**fields), progress=lambda count: None
    )


def images_of(folder: Path) -> list[bytes]:
    corpus = load_corpus((str(folder),))
    with ShardReader(corpus) as reader:
        return reader.read(np.arange(corpus.manifests[0].samples))


pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.mark.parametrize("beside", [True, False])
def test_tars_are_indexed_where_they_lie(tmp_path: Path, beside: bool) -> None:
    src = tmp_path / "src"
    write_tar(src / "a.tar", samples(range(10)))
    write_tar(src / "deep" / "a.tar", samples(range(10, 25), prefix="folder.v1/"))
    out = src if beside else tmp_path / "out"
    result = indexed(src, out)
    assert result.read == 2
    assert not result.left_out
    assert verify(out) == []
    manifest = load_manifest(out)
    assert [shard.samples for shard in manifest.shards] == [10, 15]
    assert [Path(shard.path).is_absolute() for shard in manifest.shards] == [not beside] * 2
    assert images_of(out) == PICTURES[:25]
    assert manifest.classes == ("0", "1")
    assert manifest.labelled
    labels = read_labels(load_corpus((str(out),)), at_most=99)
    assert labels.tolist() == [number % 2 for number in range(25)]


def test_the_same_command_again_reads_only_what_is_new_and_keeps_ids(tmp_path: Path) -> None:
    src = tmp_path / "src"
    write_tar(src / "b.tar", samples(range(10)))
    first = indexed(src, tmp_path / "out")
    write_tar(src / "a.tar", [*samples(range(10, 20)), ("x.png", PICTURES[30]), ("x.cls", b"7")])
    again = indexed(src, tmp_path / "out")
    assert (first.read, again.read) == (1, 1)
    assert images_of(tmp_path / "out") == [*PICTURES[:20], PICTURES[30]]
    assert load_manifest(tmp_path / "out").classes == ("0", "1", "7")
    assert indexed(src, tmp_path / "out").read == 0
    write_tar(src / "b.tar", samples(range(20, 30)))
    with pytest.raises(UserError, match=r"b\.tar.*changed since"):
        indexed(src, tmp_path / "out")


def test_what_an_interruption_left_is_not_read_again(tmp_path: Path) -> None:
    src = tmp_path / "src"
    for number in range(3):
        write_tar(src / f"{number}.tar", samples(range(10 * number, 10 * number + 10)))
    indexed(src, tmp_path / "out")
    (tmp_path / "out" / "manifest.arrow").unlink()
    next((tmp_path / "out").glob("1.tar*")).unlink()
    assert indexed(src, tmp_path / "out").read == 1
    assert images_of(tmp_path / "out") == PICTURES[:30]


def test_sizes_json_says_which_shards_and_how_many_samples(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", samples(range(10)))
    write_tar(tmp_path / "b.tar", samples(range(10, 15)))
    (tmp_path / "sizes.json").write_text(json.dumps({"a.tar": 10}))
    assert len(find_shards(str(tmp_path))) == 1
    assert indexed(tmp_path, tmp_path / "out").manifest.samples == 10
    (tmp_path / "sizes.json").write_text(json.dumps({"a.tar": 10, "b.tar": 6}))
    with pytest.raises(UserError, match=r"b\.tar: holds 5 samples, sizes\.json says 6"):
        indexed(tmp_path, tmp_path / "out2")


def test_labels_come_from_json_members_or_not_at_all(tmp_path: Path) -> None:
    members: list[tuple[str, bytes | None]] = []
    for number in range(6):
        facts = json.dumps({"meta": {"kind": "cat" if number < 2 else "dog"}}).encode()
        members += [(f"{number}.json", facts), (f"{number}.png", PICTURES[number])]
    write_tar(tmp_path / "src" / "a.tar", members)
    found = indexed(tmp_path / "src", tmp_path / "json", labels="json:meta.kind").manifest
    assert (found.classes, found.labelled) == (("cat", "dog"), True)
    assert not indexed(tmp_path / "src", tmp_path / "none", labels="none").manifest.labelled


@pytest.mark.parametrize("kind", ["binary", "struct", "path"])
def test_parquet_by_bytes_or_by_paths(tmp_path: Path, kind: str) -> None:
    src = tmp_path / "src"
    src.mkdir()
    column: pa.Array = pa.array(PICTURES, pa.binary())
    if kind == "struct":
        column = pa.StructArray.from_arrays([column, pa.array(["x"] * 40)], ["bytes", "path"])
    if kind == "path":
        names = [f"{number}.png" for number in range(40)]
        for name, data in zip(names, PICTURES, strict=True):
            (src / name).write_bytes(data)
        column = pa.array(names)
    table = pa.table({"picture": column, "label": [number % 3 for number in range(40)]})
    pq.write_table(table, src / "t.parquet", row_group_size=7)
    manifest = indexed(src, tmp_path / "out", images="picture").manifest
    assert (manifest.image_column, manifest.classes) == ("picture", ("0", "1", "2"))
    assert images_of(tmp_path / "out") == PICTURES


def test_odd_members_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "odd.tar",
        [
            ("folder", None),
            ("folder.jpg", None),
            *samples(range(3)),
            ("0001.png", PICTURES[9]),
            ("lonely.cls", b"1"),
            ("evil.pkl", b"cos\nsystem\n(S'false'\ntR."),
            ("evil.png", PICTURES[3]),
            ("evil.pth", b"x"),
            ("noext", b"x"),
        ],
    )
    found = read_contents(str(path), Fields())
    assert found.keys == ["0000", "0001", "0002", "evil"]
    assert found.labels == ["0", "1", "0", None]
    assert found.left_out == {"duplicate key": 1, "no image": 1}


def test_a_tar_cut_at_any_byte_gives_the_samples_before_the_cut(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", samples(range(6))).read_bytes()
    for cut in range(0, len(whole), 97):
        (tmp_path / "cut.tar").write_bytes(whole[:cut])
        found = read_contents(str(tmp_path / "cut.tar"), Fields())
        places = list(zip(found.offsets, found.sizes, strict=True))
        data = [whole[offset : offset + size] for offset, size in places]
        assert data == PICTURES[: len(data)]
        assert all(offset + size <= cut for offset, size in places)
        assert [decode_image(image).shape for image in data] == [(5, 7, 3)] * len(data)


def test_what_cannot_be_indexed_is_told_at_once(tmp_path: Path) -> None:
    for folder, says in ((tmp_path / "absent", "cannot be listed"), (tmp_path, "no .tar")):
        with pytest.raises(UserError, match=says):
            find_shards(str(folder))
    damaged: Mapping[str, bytes] = {"empty.tar": b"", "text.tar": b"hello" * 300}
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        indexed(tmp_path, tmp_path / "out")
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "out" / "manifest.arrow").exists()
