"""Folders and lists, on a disk and in a store: labels with gaps, kept columns, odd lines."""

from __future__ import annotations

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import storage
from pipeline.data.sources.convert import shard
from pipeline.data.sources.manifest import load_manifest
from pipeline.errors import UserError
from tests.data.sources.conversion.pictures import Found, contents, picture

pytestmark = pytest.mark.fast


def files(root: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(number))
    return root


def test_two_stray_files_do_not_turn_off_the_labels_of_a_folder(tmp_path: Path) -> None:
    names = [f"{kind}/{number}.png" for kind in ("ant", "bee") for number in range(5)]
    source = files(tmp_path / "src", [*names, "stray.png", "other.png"])
    result = shard(source, tmp_path / "out")
    manifest = result.manifests[""]
    assert (manifest.classes, manifest.unlabelled) == (("ant", "bee"), 2)
    assert sorted(result.unlabelled[""]) == ["other.png", "stray.png"]
    found = contents(str(tmp_path / "out"))
    assert {key: sample.label for key, sample in found.items()} == {
        **{name: name[:3] for name in names},
        "stray.png": None,
        "other.png": None,
    }


def test_a_folder_of_mostly_loose_files_has_no_labels_unless_they_are_asked_for(
    tmp_path: Path,
) -> None:
    source = files(tmp_path / "src", ["a.png", "b.png", "c.png", "extra/d.png"])
    assert not shard(source, tmp_path / "out").manifests[""].labelled
    asked = shard(source, tmp_path / "asked", labels="folder").manifests[""]
    assert (asked.classes, asked.unlabelled) == (("extra",), 3)


def test_a_csv_may_name_some_files_carry_more_and_be_wrong_here_and_there(tmp_path: Path) -> None:
    source = files(tmp_path / "src", [f"{number}.png" for number in range(6)])
    lines = [
        "file,label,patient,note",
        '0.png,x,p1,"with, comma"',
        "./1.png,y,p1,",
        f"{source}/2.png,x,p2,\u00e4",
        "gone.png,x,p9,never there",
        "0.png,y,p1,again",
        "3.png,,p3,no label",
        "one,too,many,values,here",
    ]
    (tmp_path / "t.csv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    result = shard(
        source, tmp_path / "out", labels=str(tmp_path / "t.csv"), keep=("patient", "note")
    )
    assert {key: (s.label, s.kept) for key, s in contents(str(tmp_path / "out")).items()} == {
        "0.png": ("x", ("p1", "with, comma")),
        "1.png": ("y", ("p1", None)),
        "2.png": ("x", ("p2", "\u00e4")),
        "3.png": (None, ("p3", "no label")),
        "4.png": (None, (None, None)),
        "5.png": (None, (None, None)),
    }
    assert load_manifest(tmp_path / "out").unlabelled == 3
    told = "\n".join(result.notes)
    assert "1 lines of" in told
    assert "name no image: gone.png" in told
    assert "names some files again; the first line counts: 0.png" in told
    assert "1 lines of" in told
    assert "cannot be read" in told


LISTS = ("list.csv", "list.tsv", "list.jsonl", "list.parquet")


def write_list(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n{broken\n[1]\n")
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        lines = [mark.join(rows[0]), *(mark.join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_paths_of_any_kind_is_a_source(tmp_path: Path, name: str) -> None:
    files(tmp_path / "images", [f"{number}.png" for number in range(5)])
    (tmp_path / "images" / "dir.png").mkdir()
    names = [f"images/{number}.png" for number in range(4)]
    names += [str(tmp_path / "images" / "4.png"), "images/gone.png", "images/dir.png", "odd://x/y"]
    rows: list[dict[str, object]] = [
        {"path": path, "label": "ab"[at % 2], "age": at} for at, path in enumerate(names)
    ]
    result = shard(write_list(tmp_path / name, rows), tmp_path / "out", keep=("age",))
    assert contents(str(tmp_path / "out")) == {
        path: Found(picture(at), "ab"[at % 2], (str(at),)) for at, path in enumerate(names[:5])
    }
    lines = {"line cannot be read": 2} if name == "list.jsonl" else {}
    missing = {"missing file": 1, "not a file": 1, "cannot be opened": 1}
    assert result.left_out == missing | lines


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


def test_addresses_on_the_web_are_read_and_dead_ones_left_out(tmp_path: Path) -> None:
    files(tmp_path / "images", ["0.png", "1.png"])
    handler = partial(_Quiet, directory=str(tmp_path / "images"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        names = ["0.png", "1.png?size=large", "gone.png"]
        rows: list[dict[str, object]] = [{"url": f"{host}/{name}", "no": 1} for name in names]
        source = write_list(
            tmp_path / "list.csv", [*rows, {"url": "http://127.0.0.1:9/x", "no": 1}]
        )
        result = shard(source, tmp_path / "out")
        server.shutdown()
    assert result.left_out == {"cannot be fetched": 2}
    assert [s.data for s in contents(str(tmp_path / "out")).values()].count(picture(1)) == 1
    assert result.manifests[""].samples == 2


def test_columns_that_a_list_does_not_have_are_named_all_at_once(tmp_path: Path) -> None:
    source = write_list(tmp_path / "list.csv", [{"where": "a.png", "kind": "x"}])
    for options, says in (
        ({}, "--images: name the column of paths.*where, kind"),
        ({"images": "where", "labels": "klass", "keep": ("age",)}, r"(?s)--keep: age.*--labels"),
        ({"images": "where", "split_by": "patient", "test_fraction": 0.5}, "--split-by: patient"),
    ):
        with pytest.raises(UserError, match=says):
            shard(source, tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()


def test_names_that_are_no_utf_8_are_read_and_told(tmp_path: Path) -> None:
    source = files(tmp_path / "src", ["a/0.png"])
    odd = bytes(source) + b"/caf\xe9"
    Path(odd.decode("utf-8", "surrogateescape")).mkdir()
    Path((odd + b"/1.png").decode("utf-8", "surrogateescape")).write_bytes(picture(1))
    manifest = shard(source, tmp_path / "out").manifests[""]
    assert manifest.classes == ("a", "caf\\xe9")
    assert contents(str(tmp_path / "out"))["caf\\xe9/1.png"].data == picture(1)


def test_endings_that_a_person_would_call_images_are_counted(tmp_path: Path) -> None:
    source = files(tmp_path / "src", ["a.png", "b.HEIC", "c.svg", "d.heic", "notes.txt"])
    left_out = shard(source, tmp_path / "out").left_out
    assert left_out == {".heic is not read": 2, ".svg is not read": 1}


def test_a_store_is_a_source_and_a_destination(object_store: str, tmp_path: Path) -> None:
    root, made = (f"s3://{place}?{object_store}" for place in ("data/pictures", "made/shards"))
    names = [f"{kind}/{number}.png" for kind in ("ant", "bee") for number in range(12)]
    for number, name in enumerate([*names, ".hidden/x.png", "ant/.y.png"]):
        storage.write_file(storage.join(root, name), picture(number))
    result = shard(root, made, test_fraction=0.25, samples_per_shard=5)
    assert {name: m.samples for name, m in result.manifests.items()} == {"test": 6, "train": 18}
    found = {**contents(storage.join(made, "test")), **contents(storage.join(made, "train"))}
    assert found == {
        name: Found(picture(number), name[:3], ()) for number, name in enumerate(names)
    }
    assert not [name for name in storage.list_files(made) if ".sharding" in name]

    write_list(tmp_path / "list.csv", [{"uri": storage.join(root, name)} for name in names[:6]])
    assert shard(tmp_path / "list.csv", tmp_path / "out").manifests[""].samples == 6
