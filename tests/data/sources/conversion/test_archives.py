"""Tars, packed or not: a stranger's download is read from end to end, whatever is in it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from pipeline.data.sources.convert import shard
from pipeline.errors import UserError
from tests.data.sources.conversion.pictures import contents, picture

pytestmark = pytest.mark.fast

MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def archive(path: Path, members: dict[str, bytes]) -> Path:
    ending = next(ending for ending in MODES if path.name.endswith(ending))
    path.parent.mkdir(exist_ok=True, parents=True)
    with tarfile.open(path, MODES[ending]) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def pictures(names: list[str]) -> dict[str, bytes]:
    return {name: picture(number) for number, name in enumerate(names)}


NAMES = [f"photos/{kind}/{number}.png" for kind in ("ant", "bee") for number in range(6)]


@pytest.mark.parametrize("ending", MODES)
def test_an_archive_gives_its_images_with_the_names_of_their_folders(
    tmp_path: Path, ending: str
) -> None:
    odd = {"photos/README.txt": b"hello", "photos/ant/._0.png": b"of a mac", "photos/x.png": b"no"}
    source = archive(tmp_path / f"a{ending}", pictures(NAMES) | odd)
    result = shard(source, tmp_path / "out", samples_per_shard=5)
    found = contents(str(tmp_path / "out"))
    assert {key: sample.data for key, sample in found.items()} == pictures(NAMES)
    assert {key: sample.label for key, sample in found.items()} == {
        name: name.split("/")[1] for name in NAMES
    }
    assert result.left_out == {"not an image": 1}


def test_webdataset_shards_keep_their_labels(tmp_path: Path) -> None:
    for part in range(3):
        members = {}
        for row in range(4):
            key = f"{4 * part + row:04d}"
            members |= {f"{key}.png": picture(4 * part + row), f"{key}.json": b"{}"}
            if row:
                members[f"{key}.cls"] = str(row).encode()
        archive(tmp_path / "src" / f"{part}.tar", members)
    result = shard(tmp_path / "src", tmp_path / "out")
    found = contents(str(tmp_path / "out"))
    assert {key: (s.data, s.label) for key, s in found.items()} == {
        f"{n:04d}.png": (picture(n), str(n % 4) if n % 4 else None) for n in range(12)
    }
    assert result.manifests[""].unlabelled == 3
    assert not shard(tmp_path / "src", tmp_path / "none", labels="none").manifests[""].labelled


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_what_lies_before_a_fault_is_taken_and_the_fault_is_told(
    tmp_path: Path, ending: str
) -> None:
    source = archive(tmp_path / "src" / f"cut{ending}", pictures([f"{n}.png" for n in range(400)]))
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    archive(tmp_path / "src" / f"whole{ending}", pictures(NAMES))
    result = shard(tmp_path / "src", tmp_path / "out")
    assert result.left_out == {"damaged archive": 1}
    assert result.examples == {"damaged archive": f"cut{ending}"}
    assert 100 < result.manifests[""].samples < 412
    assert contents(str(tmp_path / "out"))["0.png"].data == picture(0)


def test_what_archives_do_not_have_is_refused_all_at_once(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.tar", pictures(NAMES))
    with pytest.raises(UserError) as error:
        shard(source, tmp_path / "out", labels="kind", keep=("age",), images="png")
    assert [problem.where for problem in error.value.problems] == [
        "--labels",
        "--keep",
        "--images",
    ]


def test_a_folder_of_images_with_an_archive_in_it_is_a_folder_of_images(tmp_path: Path) -> None:
    archive(tmp_path / "src" / "old.tar", pictures(NAMES))
    for number in range(3):
        (tmp_path / "src" / f"{number}.png").write_bytes(picture(number))
    assert set(contents_of(tmp_path / "src", tmp_path)) == {"0.png", "1.png", "2.png"}


def contents_of(source: Path, folder: Path) -> dict[str, object]:
    shard(source, folder / "out")
    return dict(contents(str(folder / "out")))
