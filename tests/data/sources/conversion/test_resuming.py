"""However often a conversion is killed, and wherever it runs, it ends with the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.decode import encode_png
from pipeline.data.sources.conversion.job import opened
from pipeline.data.sources.convert import shard
from pipeline.data.sources.manifest import UNFINISHED, load_manifest
from pipeline.errors import UserError

COUNT, PER_SHARD = 240, 10

_PROGRAM = """
import sys
from pipeline.data.sources.convert import shard
shard(sys.argv[1], sys.argv[2], test_fraction=0.25, samples_per_shard=int(sys.argv[3]))
"""


def picture(number: int) -> bytes:
    rng = np.random.default_rng(number)
    return encode_png(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))


def folder(root: Path) -> Path:
    for number in range(COUNT):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"spoilt" if number % 30 == 7 else picture(number))
    return root


def tables(root: Path) -> Path:
    root.mkdir()
    for part in range(4):
        images = [picture(60 * part + row) for row in range(60)]
        pq.write_table(pa.table({"image": images}), root / f"{part}.parquet", row_group_size=20)
    return root


def files_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def start(source: Path, destination: Path) -> subprocess.Popen[bytes]:
    arguments = [str(source), str(destination), str(PER_SHARD)]
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, *arguments])


@pytest.mark.parametrize("make", [folder, tables])
def test_a_conversion_killed_at_any_moment_ends_with_the_same_bytes(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    source = make(tmp_path / "src")
    shard(source, tmp_path / "whole", test_fraction=0.25, samples_per_shard=PER_SHARD)
    killed = 0
    for shards in (1, 6, 13, 20):
        process = start(source, tmp_path / "out")
        while process.poll() is None and len(list(tmp_path.glob("out/*/*.index.*"))) < shards:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        if (tmp_path / "out" / UNFINISHED).exists():
            with pytest.raises(UserError, match="not filled to its end; the same `jobs shard`"):
                load_manifest(tmp_path / "out" / "train")
    assert killed >= 2
    result = shard(source, tmp_path / "out", test_fraction=0.25, samples_per_shard=PER_SHARD)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    assert result.left_out == ({"not an image": 8} if make is folder else {})


def test_shards_that_are_whole_are_not_written_again_and_others_are(tmp_path: Path) -> None:
    source = folder(tmp_path / "src")
    shard(source, tmp_path / "whole", samples_per_shard=PER_SHARD)

    def stop(doing: str, total: int | None) -> Callable[[int, int], None]:
        done = []

        def advance(samples: int, size: int) -> None:
            done.append(samples)
            if doing == "sharding" and len(done) == 9:
                raise KeyboardInterrupt

        return advance

    with pytest.raises(KeyboardInterrupt):
        shard(source, tmp_path / "out", samples_per_shard=PER_SHARD, progress=stop)
    (source / "a" / "0.png").rename(tmp_path / "moved.png")  # the plan, not the source, is followed
    spoilt, gone = (tmp_path / "out" / f"shard-00000{number}.tar" for number in (2, 5))
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"x")
    gone.unlink()
    (tmp_path / "moved.png").rename(source / "a" / "0.png")
    result = shard(source, tmp_path / "out", samples_per_shard=PER_SHARD)
    assert result.written == 24 - 9 + 2
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_another_command_does_not_go_on_with_it(tmp_path: Path) -> None:
    source = folder(tmp_path / "src")

    def stop(doing: str, total: int | None) -> Callable[[int, int], None]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shard(source, tmp_path / "out", progress=stop)
    with pytest.raises(UserError, match=r"seed was 0, is 1\. Give the same command to go on"):
        shard(source, tmp_path / "out", seed=1)
    with pytest.raises(UserError, match="format was tar, is parquet"):
        shard(source, tmp_path / "out", kind="parquet")
    assert shard(source, tmp_path / "out").manifests[""].samples == COUNT - 8


def test_two_processes_do_not_fill_one_destination(tmp_path: Path) -> None:
    source = folder(tmp_path / "src")
    asked = {"a": 1}
    with (
        opened(str(tmp_path / "out"), asked, append=False),
        pytest.raises(UserError, match="another process is filling it"),
        opened(str(tmp_path / "out"), asked, append=False),
    ):
        pass
    assert source.exists()


def test_an_append_that_was_stopped_at_its_very_end_is_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder(tmp_path / "src")
    options = {"samples_per_shard": 50, "append": True}
    shard(tables(tmp_path / "tables"), tmp_path / "out", samples_per_shard=50, labels="none")
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.data.sources.conversion.job.Job.finish", _fail)
        with pytest.raises(KeyboardInterrupt):
            shard(source, tmp_path / "out", **options)
    once = load_manifest(tmp_path / "out")
    assert once.samples == 2 * COUNT - 8
    assert shard(source, tmp_path / "out", **options).written == 0
    assert load_manifest(tmp_path / "out") == once
    assert not (tmp_path / "out" / UNFINISHED).exists()
    assert (once.classes, once.unlabelled) == (("a", "b"), COUNT)


def _fail(job: object) -> None:
    raise KeyboardInterrupt
