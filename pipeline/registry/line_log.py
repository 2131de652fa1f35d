"""Lines that are appended by one process and followed by others: in a file, or in a store.

An object store cannot append. There the lines lie in numbered parts; the last part is written anew
with every addition until it is large enough.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from pipeline.data import storage

_PART_BYTES = 128 << 10


class LineLog(Protocol):
    """The writing end."""

    def append(self, line: str) -> None:
        """Add a line, without waiting for storage that is far away."""

    def flush(self) -> None:
        """Return when all lines are in storage.

        Raises:
            OSError: they cannot be brought there.
        """


class LineReader(Protocol):
    """The reading end."""

    def read(self) -> list[bytes]:
        """Whole lines that were added since the last call."""


def open_log(location: str) -> LineLog:
    """A log for appending, made if need be; a line that was cut short is removed."""
    return StoredLog(location) if storage.is_remote(location) else FileLog(Path(location))


def reader_of(location: str) -> LineReader:
    """A reader that begins at the first line; there may be none yet."""
    return StoredReader(location) if storage.is_remote(location) else FileReader(Path(location))


class FileLog:
    """Lines in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            text = path.read_bytes()
            with path.open("rb+") as file:
                file.truncate(text.rfind(b"\n") + 1)

    def append(self, line: str) -> None:
        """Add a line."""
        with self._path.open("a") as file:
            file.write(line + "\n")

    def flush(self) -> None:
        """Nothing is held back."""


class FileReader:
    """Follows a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[bytes]:
        """Whole lines that were added since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.splitlines()


class StoredLog:
    """Lines in an object store, brought there by a thread while the caller goes on."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._part = 0
        while storage.exists(_part(location, self._part + 1)):
            self._part += 1
        last = _part(location, self._part)
        self._text = storage.read_file(last) if storage.exists(last) else b""
        self._begin_part_if_full()
        self._waiting: deque[str] = deque()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._stored = True

    def append(self, line: str) -> None:
        """Add a line; if the store fails, it goes there with a later one."""
        self._waiting.append(line)
        self._writer.submit(self._store, attempts=1)

    def flush(self) -> None:
        """Return when all lines are in the store.

        Raises:
            OSError: the store failed for minutes.
        """
        self._writer.submit(self._store, attempts=storage.PATIENT).result()

    def _store(self, *, attempts: int) -> None:
        while self._waiting:
            self._text += self._waiting.popleft().encode() + b"\n"
            self._stored = False
        if self._stored:
            return
        storage.write_file(_part(self._location, self._part), self._text, attempts=attempts)
        self._stored = True
        self._begin_part_if_full()

    def _begin_part_if_full(self) -> None:
        if len(self._text) >= _PART_BYTES:
            self._part, self._text = self._part + 1, b""


class StoredReader:
    """Follows the parts of a log in an object store."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._part = 0
        self._offset = 0

    def read(self) -> list[bytes]:
        """Whole lines that were added since the last call."""
        lines = []
        while (text := self._text()) is not None:
            lines += text[self._offset :].splitlines()
            self._offset = len(text)
            if len(text) < _PART_BYTES:
                break
            self._part, self._offset = self._part + 1, 0
        return lines

    def _text(self) -> bytes | None:
        try:
            return storage.read_file(_part(self._location, self._part))
        except FileNotFoundError:
            return None


def _part(location: str, number: int) -> str:
    folder, name = storage.parent(location), storage.file_name(location)
    return storage.join(folder, f"{name}.{number:06d}")
