"""What ranks know of their streams, as files: a damaged one is written anew."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from pipeline.pairs.history import SampleHistory
from pipeline.runs.stream_files import StreamFiles

pytestmark = pytest.mark.fast


def history() -> SampleHistory:
    made = SampleHistory({0: (0, 50), 1: (50, 90)}, device=torch.device("cpu"))
    made.add(torch.arange(90), losses=torch.arange(90.0), weights=None)
    return made


def test_a_file_that_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    files = StreamFiles(str(tmp_path))
    names = files.write(history())
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in names}
    assert files.write(history()) == names
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in names} == before


def test_a_damaged_file_is_mended(tmp_path: Path) -> None:
    """A run that fell back behind it, and comes to the same step again, ends with whole files."""
    files = StreamFiles(str(tmp_path))
    names = files.write(history())
    damaged = tmp_path / next(iter(names))
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    assert files.write(history()) == names
    for name, file in names.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == file.sha256
