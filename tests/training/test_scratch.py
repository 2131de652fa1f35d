"""Folders for what is thrown away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.data import storage
from pipeline.training.scratch import scratch_folder

pytestmark = pytest.mark.fast

FILLING = """
import sys, time
from pathlib import Path
from pipeline.training.scratch import scratch_folder
with scratch_folder(beside=sys.argv[1]) as folder:
    (Path(folder) / "checkpoints").mkdir(parents=True)
    (Path(folder) / "checkpoints" / "file").write_text("much")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_it_lies_beside_a_folder_and_goes_with_the_body(tmp_path: Path) -> None:
    with scratch_folder(beside=str(tmp_path / "run")) as folder:
        assert Path(folder).parent == tmp_path
        storage.write_file(storage.join(folder, "a/b"), b"much")
        assert list(tmp_path.iterdir()) == [Path(folder)]
    assert list(tmp_path.iterdir()) == []


def test_it_goes_when_the_body_fails(tmp_path: Path) -> None:
    def interrupted() -> None:
        with scratch_folder(beside=str(tmp_path / "run")) as folder:
            Path(folder).mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_it_lies_in_a_store_beside_a_run_there(
    object_store: str, request: pytest.FixtureRequest
) -> None:
    run = f"s3://runs/{request.node.name}/run?{object_store}"
    with scratch_folder(beside=run) as folder:
        assert folder.startswith(f"s3://runs/{request.node.name}/scratch-")
        storage.write_file(storage.join(folder, "a/b"), b"much")
        assert storage.read_file(storage.join(folder, "a/b")) == b"much"
    assert not storage.exists(storage.join(folder, "a/b"))


@pytest.mark.parametrize("killing", [signal.SIGTERM, signal.SIGKILL])
def test_it_goes_when_the_process_and_its_group_are_killed(
    killing: signal.Signals, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FILLING, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    folder = Path(process.stdout.readline().strip())
    assert (folder / "checkpoints" / "file").exists()
    os.killpg(process.pid, killing)
    process.wait()
    deadline = time.monotonic() + 120
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(tmp_path.iterdir()) == []
