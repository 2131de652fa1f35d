"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage


@contextmanager
def whole_file(location: str) -> Iterator[Path]:
    """A path to fill with what is at the location when the body has ended, on disk or in a store.

    Raises:
        OSError: it cannot be written.
    """
    if storage.is_remote(location):
        with TemporaryDirectory() as folder:
            path = Path(folder, storage.file_name(location))
            yield path
            storage.upload(path, location)
        return
    whole = Path(storage.absolute(location))
    whole.parent.mkdir(parents=True, exist_ok=True)
    partial = whole.with_name(whole.name + ".partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(whole)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def local_copy(location: str) -> Iterator[str]:
    """A path at which a file can be read while the body runs.

    Raises:
        OSError: it cannot be read.
    """
    if not storage.is_remote(location):
        yield storage.absolute(location)
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, storage.file_name(location))
        with path.open("wb") as copy:
            copy.writelines(storage.parts(location))
        yield str(path)


@contextmanager
def whole_parquet(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer of a file that takes its place when the body ends, and never if the body fails.

    Raises:
        OSError: the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            yield writer
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def cannot_hold(path: Path) -> str | None:
    """Why no file can be written at a path; None if one can."""
    if path.is_dir():
        return f"{path} is a folder"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    return None
