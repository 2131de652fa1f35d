"""Names of the image files under a folder, on a disk or in a store.

Their order is the same each time, and no listing of them all is held in memory.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyarrow import fs

from pipeline.data import storage

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"})

OTHER_IMAGES = frozenset(
    {".heic", ".heif", ".avif", ".svg", ".jxl", ".jp2", ".psd", ".dng", ".cr2", ".nef", ".arw"}
)
"""Endings of what a person would call an image, and nothing here reads."""

_FOLDERS_AT_A_TIME = 16


def is_image(name: str) -> bool:
    """Whether a file is one of the images by its name."""
    return _ending(name) in EXTENSIONS and not _is_clutter(name)


def image_files(root: str, passed_over: Counter[str] | None = None) -> Iterator[bytes]:
    """Image files under a folder, as names below it in the file system's own bytes.

    Hidden ones are passed over, and what macOS puts beside the files of an archive.

    Args:
        root: path or URI.
        passed_over: counts what else a person would miss, by reason: files of `OTHER_IMAGES`, and
            folders that may not be opened.

    Raises:
        OSError: the folder, or one under it, cannot be listed.
    """
    counts = Counter() if passed_over is None else passed_over
    remote = storage.is_remote(root)
    names = _names_in_store(root) if remote else _names_on_disk(os.fsencode(root), counts)
    for name in names:
        base = os.fsdecode(name).rpartition("/")[2]
        if is_image(base):
            yield name
        elif _ending(base) in OTHER_IMAGES and not _is_clutter(base):
            counts[f"{_ending(base)} is not read"] += 1


def _ending(name: str) -> str:
    return Path(name).suffix.lower()


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _names_on_disk(root: bytes, passed_over: Counter[str]) -> Iterator[bytes]:
    """Files of a folder by name, then those of its sub-folders; links to folders are not followed.

    By a stack, since folders may be nested deeper than calls.
    """
    stack = [b""]
    while stack:
        below = stack.pop()
        try:
            folders, files = _entries(root + b"/" + below)
        except PermissionError:
            if not below:
                raise
            passed_over["folder cannot be opened"] += 1
            continue
        yield from (below + name for name in files)
        visible = (name for name in reversed(folders) if not _is_clutter(os.fsdecode(name)))
        stack += [below + name + b"/" for name in visible]


def _entries(folder: bytes) -> tuple[list[bytes], list[bytes]]:
    """Names of a folder's folders, and of its files, each in order."""
    folders, files = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif entry.is_file():
                files.append(entry.name)
    return sorted(folders), sorted(files)


def _names_in_store(root: str) -> Iterator[bytes]:
    """As on a disk; some sub-folders are listed at a time."""
    store, path = storage.resolve(root)
    prefix = len(path.rstrip("/")) + 1

    def listed(folder: str, *, recursive: bool) -> list[fs.FileInfo]:
        selector = fs.FileSelector(folder, recursive=recursive)
        return list(storage.retrying(lambda: store.get_file_info(selector)))

    def files(found: list[fs.FileInfo]) -> list[bytes]:
        names = (info.path[prefix:] for info in found if info.type == fs.FileType.File)
        return sorted(name.encode() for name in names if not _in_clutter(name))

    top = listed(path, recursive=False)
    yield from files(top)
    folders = sorted(info.path for info in top if info.type == fs.FileType.Directory)
    with ThreadPoolExecutor(_FOLDERS_AT_A_TIME) as pool:
        for start in range(0, len(folders), _FOLDERS_AT_A_TIME):
            some = folders[start : start + _FOLDERS_AT_A_TIME]
            for found in pool.map(lambda folder: files(listed(folder, recursive=True)), some):
                yield from found


def _in_clutter(name: str) -> bool:
    return any(map(_is_clutter, name.split("/")))
