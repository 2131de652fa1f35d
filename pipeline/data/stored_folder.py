"""Folders by path or URI, for code that needs files on a local disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.data import storage


@contextmanager
def folder_to_fill(location: str) -> Iterator[Path]:
    """A new local folder whose files are at the location, to stay, when the body has ended.

    Raises:
        OSError: they cannot be written.
    """
    if storage.is_remote(location):
        with TemporaryDirectory() as temporary:
            yield Path(temporary)
            for path in _files(Path(temporary)):
                name = path.relative_to(temporary).as_posix()
                storage.upload(path, storage.join(location, name), attempts=storage.PATIENT)
        return
    folder = Path(storage.absolute(location))
    folder.mkdir(parents=True)
    yield folder
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())


@contextmanager
def folder_to_read(location: str) -> Iterator[Path]:
    """A local folder with the files of a location; fetched for the time of the body, if remote.

    Raises:
        OSError: they cannot be read.
    """
    if not storage.is_remote(location):
        yield Path(storage.absolute(location))
        return
    with TemporaryDirectory() as temporary:
        root = location.partition("?")[0].rstrip("/")
        for file in storage.list_files(location):
            path = Path(temporary) / file.partition("?")[0].removeprefix(root).lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as copy:
                copy.writelines(storage.parts(file))
        yield Path(temporary)


def _files(folder: Path) -> list[Path]:
    """All files under a folder, by name."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def delete_folder(location: str) -> None:
    """Remove a folder and all that is in it, if it is there."""
    store, path = storage.resolve(location)
    with suppress(FileNotFoundError):
        store.delete_dir(path)
