"""Files by path or URI: local disks, and whatever pyarrow or fsspec can open (s3, gs, hdfs …).

Credentials come from the environment, as each store's own tools read them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import fsspec
import pyarrow as pa
from pyarrow import fs

Result = TypeVar("Result")

PATIENT = 12
"""Attempts that bridge some four minutes, for what a run would otherwise have to stop for."""

WEB = ("http", "https")
"""Schemes of servers that keep no store, and of which any may be gone."""

_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 30.0
_PART_BYTES = 16 << 20


def is_remote(location: str) -> bool:
    """Whether a location is a URI of another machine, and not a path or a file:// URI."""
    return "://" in location and not location.startswith("file://")


def absolute(location: str) -> str:
    """A location that means the same in every working directory; file:// becomes a path."""
    if is_remote(location):
        return location
    return str(Path(location.removeprefix("file://")).expanduser().resolve())


def join(folder: str, name: str) -> str:
    """The location of a file in a folder; a name that is a URI or absolute stands for itself."""
    if "://" in name or name.startswith("/"):
        return name
    path, mark, query = folder.partition("?")  # pyarrow's options of a store follow the path
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def parent(location: str) -> str:
    """The folder of a file."""
    path, mark, query = location.partition("?")
    return f"{path.rpartition('/')[0]}{mark}{query}"


def file_name(location: str) -> str:
    """The last part of a location."""
    return location.partition("?")[0].rstrip("/").rpartition("/")[2]


@lru_cache(maxsize=64)
def _open_store(root: str) -> fs.FileSystem:
    try:
        return fs.FileSystem.from_uri(root)[0]
    except pa.ArrowInvalid:  # a scheme that pyarrow does not speak
        store, _ = fsspec.core.url_to_fs(root)
        return fs.PyFileSystem(fs.FSSpecHandler(store))


def resolve(location: str) -> tuple[fs.FileSystem, str]:
    """The store of a location, and the path in it.

    Raises:
        ValueError: no library that is installed can open it.
    """
    if not is_remote(location):
        return _local_store(), absolute(location)
    address, _, query = location.partition("?")
    scheme, _, path = address.partition("://")
    if scheme in WEB:  # where a file's name is its whole address
        return _open_store(f"{scheme}://"), location
    bucket = path.partition("/")[0]
    root = f"{scheme}://{bucket}" + (f"?{query}" if query else "")
    return _open_store(root), path


def unreachable(location: str) -> str | None:
    """Why a store cannot be used, its bucket missing for instance; None for a local path."""
    if not is_remote(location):
        return None
    try:
        store, path = resolve(location)
        found = store.get_file_info(path.partition("/")[0]).type
    except (OSError, ValueError, ImportError) as error:
        return f"{location} cannot be reached: {' '.join(str(error).split())}"
    return f"{location}: there is no such bucket" if found == fs.FileType.NotFound else None


@lru_cache(maxsize=1)
def _local_store() -> fs.FileSystem:
    return fs.LocalFileSystem()


def retrying(action: Callable[[], Result], *, attempts: int = _ATTEMPTS) -> Result:
    """Run an action, again after a pause if the store fails; a missing file is no such failure.

    Args:
        action: what may fail.
        attempts: made in all; each pause is four times the one before, up to half a minute.

    Raises:
        OSError: every attempt failed, or the file is not there.
    """
    pause = _FIRST_PAUSE_SECONDS
    for _ in range(attempts - 1):
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(pause)
            pause = min(4 * pause, _LONGEST_PAUSE_SECONDS)
    return action()


def size_of(location: str) -> int | None:
    """Bytes of a file, None where there is none."""
    state = state_of(location)
    return None if state is None else state[0]


def state_of(location: str) -> tuple[int, int] | None:
    """Bytes and time of the last change (ns) of a file, None where there is none."""
    store, path = resolve(location)
    info = retrying(lambda: store.get_file_info(path))
    if info.type != fs.FileType.File:
        return None
    return int(info.size), int(info.mtime_ns or 0)


def exists(location: str) -> bool:
    """Whether there is a file."""
    return state_of(location) is not None


def read_file(location: str) -> bytes:
    """A whole file.

    Raises:
        OSError: it cannot be read.
    """
    store, path = resolve(location)

    def read() -> bytes:
        with store.open_input_file(path) as file:
            return bytes(file.read())

    return retrying(read)


def read_range(location: str, start: int, stop: int) -> bytes:
    """Bytes start … stop - 1 of a file, fewer where it ends before.

    Raises:
        OSError: it cannot be read.
    """
    store, path = resolve(location)

    def read() -> bytes:
        with store.open_input_file(path) as file:
            return bytes(file.read_at(stop - start, start))

    return retrying(read)


def write_file(location: str, data: bytes, *, attempts: int = _ATTEMPTS) -> None:
    """Write a file so that a reader sees all of it or none, and a crash does not lose it.

    Args:
        location: replaced if it is there; folders are made.
        data: the content.
        attempts: made if a store fails.

    Raises:
        OSError: it cannot be written.
    """
    store, path = resolve(location)
    if is_remote(location):
        retrying(lambda: _put(store, path, [data]), attempts=attempts)
        return
    partial = Path(f"{path}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def upload(file: Path, location: str, *, attempts: int = _ATTEMPTS) -> None:
    """Copy a local file to a store, piece by piece.

    Raises:
        OSError: it cannot be read or written.
    """
    store, path = resolve(location)
    retrying(lambda: _put(store, path, parts(str(file))), attempts=attempts)


def _put(store: fs.FileSystem, path: str, data: Iterable[bytes]) -> None:
    # Object stores show a file when it is closed.
    with _open_for_writing(store, path) as file:
        for part in data:
            file.write(part)


def _open_for_writing(store: fs.FileSystem, path: str) -> pa.NativeFile:
    try:
        return store.open_output_stream(path)
    except FileNotFoundError:  # object stores have no folders, others want them made
        store.create_dir(path.rpartition("/")[0], recursive=True)
        return store.open_output_stream(path)


def parts(location: str, *, start: int = 0) -> Iterator[bytes]:
    """A file's content from a byte on, in pieces that fit in memory.

    Raises:
        OSError: it cannot be read.
    """
    size = size_of(location)
    if size is None:
        raise FileNotFoundError(location)
    for begin in range(start, size, _PART_BYTES):
        yield read_range(location, begin, min(size, begin + _PART_BYTES))


def sha256_of(location: str) -> str:
    """Hash of a file's content.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    for part in parts(location):
        digest.update(part)
    return digest.hexdigest()


def delete_file(location: str) -> None:
    """Remove a file, if it is there."""
    store, path = resolve(location)
    with suppress(FileNotFoundError):
        store.delete_file(path)


def list_files(folder: str) -> list[str]:
    """Locations of all files under a folder, by name.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    store, path = resolve(folder)
    found = retrying(lambda: store.get_file_info(fs.FileSelector(path, recursive=True)))
    names = sorted(info.path for info in found if info.type == fs.FileType.File)
    prefix = len(path.rstrip("/")) + 1
    return [join(folder, name[prefix:]) for name in names]
