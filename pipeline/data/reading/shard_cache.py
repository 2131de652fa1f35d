"""Node-local copies of remote shards, as sparse files that hold the ranges asked for so far.

All processes of a node share them. A shard is fetched in few large requests, never one a sample,
and no byte twice while its copy is kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from pipeline.data import storage

Range = tuple[int, int]  # start, stop

_REQUEST_BYTES = 16 << 20
_BRIDGED_BYTES = 64 << 10  # a gap this small costs less to read than another request
_PARALLEL_REQUESTS = 4


class ShardCache:
    """A folder of sparse copies, bounded in bytes; the least recently used go first."""

    def __init__(self, *, capacity: int, folder: Path | None = None) -> None:
        """Use a folder.

        Args:
            capacity: bytes on disk that the copies may take; a shard in use may exceed it.
            folder: by default one of the user's in the node's temporary folder.
        """
        self._capacity = capacity
        default = Path(tempfile.gettempdir()) / f"shard-cache-{os.getuid()}"
        self._folder = folder or default
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{self._folder} belongs to another user")

    @contextmanager
    def open(self, location: str, *, version: str, ranges: Iterable[Range]) -> Iterator[int]:
        """A descriptor of a copy that holds the ranges, for the time of the body.

        Args:
            location: the shard's URI.
            version: changes when the shard's content does.
            ranges: of bytes that will be read.

        Raises:
            OSError: the store failed again and again, or the disk is full.
        """
        copy = self._copy_of(location, version)
        wanted = merge(ranges, bridge=0)
        descriptor = self._whole(copy, wanted)
        if descriptor is None:
            descriptor = self._filled(location, copy, wanted)
        try:
            # The descriptor keeps the bytes, even if another process evicts them.
            os.utime(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def lacks(self, location: str, *, version: str, ranges: Iterable[Range]) -> bool:
        """Whether `open` would fetch something now; the arguments are the same."""
        copy = self._copy_of(location, version)
        return bool(subtract(merge(ranges, bridge=0), _present(copy))) or not copy.exists()

    def _copy_of(self, location: str, version: str) -> Path:
        name = hashlib.sha256(f"{location} {version}".encode()).hexdigest()[:32]
        return self._folder / f"{name}.copy"

    @staticmethod
    def _whole(copy: Path, wanted: list[Range]) -> int | None:
        """A descriptor of a copy that has the ranges; without a lock, which a fetch holds long."""
        try:
            descriptor = os.open(copy, os.O_RDWR)
        except FileNotFoundError:
            return None
        if not subtract(wanted, _present(copy)) and _is_file(descriptor, copy):
            return descriptor
        os.close(descriptor)
        return None

    def _filled(self, location: str, copy: Path, wanted: list[Range]) -> int:
        """A descriptor of a copy into which the ranges have been fetched."""
        with _locked(copy.with_suffix(".lock")):
            descriptor = os.open(copy, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fetched = self._fetch(location, copy, descriptor, wanted)
            except BaseException:
                os.close(descriptor)
                raise
        if fetched:
            # Not while a copy is locked: two that evict would each find the other's in use.
            self._evict(keep=copy)
        return descriptor

    def _fetch(self, location: str, copy: Path, descriptor: int, wanted: list[Range]) -> bool:
        notes = copy.with_suffix(".json")
        present = _present(copy) if os.fstat(descriptor).st_size else []
        missing = merge(subtract(wanted, present), bridge=_BRIDGED_BYTES)
        if not missing:
            return False
        with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
            list(
                pool.map(lambda part: self._copy_range(location, descriptor, part), split(missing))
            )
        partial = notes.with_suffix(".partial")
        partial.write_text(json.dumps(merge([*present, *missing], bridge=0)))
        partial.replace(notes)
        return True

    @staticmethod
    def _copy_range(location: str, descriptor: int, part: Range) -> None:
        data = memoryview(storage.read_range(location, *part))
        at = part[0]
        while data:
            written = os.pwrite(descriptor, data, at)
            data, at = data[written:], at + written

    def _evict(self, *, keep: Path) -> None:
        with _locked(self._folder / "eviction.lock"):
            copies = [(path.stat(), path) for path in self._folder.glob("*.copy")]
            used = [(s.st_mtime_ns, s.st_blocks * 512, path) for s, path in copies]
            excess = sum(size for _, size, _ in used) - self._capacity
            for _, size, path in sorted(used):
                if excess <= 0:
                    return
                if path != keep and self._drop(path):
                    excess -= size

    @staticmethod
    def _drop(copy: Path) -> bool:
        """Remove a copy, unless a process is fetching into it."""
        with copy.with_suffix(".lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            copy.with_suffix(".json").unlink(missing_ok=True)
            copy.unlink(missing_ok=True)
            return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, once whichever process has it lets go."""
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _present(copy: Path) -> list[Range]:
    """The ranges that a copy has, as noted beside it."""
    try:
        return [(start, stop) for start, stop in json.loads(copy.with_suffix(".json").read_text())]
    except FileNotFoundError:
        return []


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether the path still names the open file, so that notes read before were about it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def merge(ranges: Iterable[Range], *, bridge: int) -> list[Range]:
    """Ranges in order, joined where at most `bridge` bytes lie between."""
    merged: list[Range] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1] + bridge:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        elif stop > start:
            merged.append((start, stop))
    return merged


def subtract(ranges: Iterable[Range], present: Iterable[Range]) -> list[Range]:
    """What of merged ranges is not in other merged ranges."""
    missing = []
    held = list(present)
    for start, stop in ranges:
        for low, high in held:
            if high <= start or low >= stop:
                continue
            if low > start:
                missing.append((start, low))
            start = high
        if start < stop:
            missing.append((start, stop))
    return missing


def split(ranges: Iterable[Range]) -> Iterator[Range]:
    """Ranges cut evenly into requests of at most 16 MiB."""
    for start, stop in ranges:
        parts = -(-(stop - start) // _REQUEST_BYTES)
        cuts = [start + (stop - start) * part // parts for part in range(parts + 1)]
        yield from pairwise(cuts)
