"""Fetches the samples of a shard and checks that training will be able to decode them."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.data import storage
from pipeline.data.decode import BadSample, decode_image
from pipeline.data.sources.shrinking import shrunk

Images = tuple[bytes, ...]
Result = TypeVar("Result")

_LARGEST_FILE = 1 << 30
_WINDOW_BYTES = 64 << 20


class MissingSample(Exception):
    """A sample that is listed and cannot be had: it is left out, and this says why."""


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """How large photographs are made smaller."""

    max_side: int
    quality: int


@dataclass(frozen=True, kw_only=True)
class Fetching:
    """How samples are fetched, the same in every process."""

    root: str
    """Of files whose names are neither absolute nor URIs."""
    parts: tuple[str, ...]
    reduction: Reduction | None

    def waits(self, rows: pa.RecordBatch) -> bool:
        """Whether images are fetched one by one from a store, so that threads mostly wait."""
        part = self.parts[0] if self.parts else ""
        if not len(rows) or rows[f"size.{part}"].null_count == 0:
            return False
        return storage.is_remote(
            storage.join(self.root, os.fsdecode(rows[f"file.{part}"][0].as_py()))
        )

    def samples(
        self, rows: pa.RecordBatch, pool: ThreadPoolExecutor, *, ahead: int
    ) -> Iterator[Images | str]:
        """Encoded images of each row, or why it is left out, in order.

        Args:
            rows: of a listing.
            pool: fetches and decodes.
            ahead: samples that are fetched before they are asked for.

        Raises:
            OSError: a store or a disk failed again and again.
        """
        gathered = rows[f"size.{self.parts[0] if self.parts else ''}"].null_count == 0
        loads = self._from_runs(rows) if gathered else self._from_files(rows)
        yield from _ordered(pool, (partial(self._finished, load) for load in loads), ahead=ahead)

    def _finished(self, load: Callable[[], Images]) -> Images | str:
        try:
            return tuple(map(self._checked, load()))
        except MissingSample as error:
            return str(error)
        except BadSample as error:
            return str(error).partition(":")[0]

    def _checked(self, data: bytes) -> bytes:
        if self.reduction is None:
            decode_image(data)
            return data
        return shrunk(data, max_side=self.reduction.max_side, quality=self.reduction.quality)

    def _columns(self, rows: pa.RecordBatch, name: str) -> list[list[object]]:
        return [rows[f"{name}.{part}"].to_pylist() for part in self.parts or ("",)]

    def _from_files(self, rows: pa.RecordBatch) -> Iterator[Callable[[], Images]]:
        for files in zip(*self._columns(rows, "file"), strict=True):
            yield partial(self._whole_files, files)

    def _whole_files(self, files: Iterable[bytes]) -> Images:
        return tuple(_file(storage.join(self.root, os.fsdecode(name))) for name in files)

    def _from_runs(self, rows: pa.RecordBatch) -> Iterator[Callable[[], Images]]:
        """Samples out of runs, some megabytes of each at a time, where they lie side by side."""
        places = [self._columns(rows, name) for name in ("file", "offset", "size")]
        sizes = np.sum([np.array(column, dtype=np.int64) for column in places[2]], axis=0)
        for first, stop in _windows(sizes):
            wanted = [
                [(os.fsdecode(f[r]), o[r], o[r] + s[r]) for f, o, s in zip(*places, strict=True)]
                for r in range(first, stop)
            ]
            yield from self._out_of_runs(wanted)

    @staticmethod
    def _out_of_runs(wanted: list[list[tuple[str, int, int]]]) -> Iterator[Callable[[], Images]]:
        spans: dict[str, tuple[int, int]] = {}
        for run, start, stop in (place for places in wanted for place in places):
            low, high = spans.get(run, (start, stop))
            spans[run] = (min(low, start), max(high, stop))
        held = {run: storage.read_range(run, *span) for run, span in spans.items()}
        for places in wanted:
            images = [held[r][a - spans[r][0] : b - spans[r][0]] for r, a, b in places]
            yield partial(tuple, images)


def _windows(sizes: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of rows of some megabytes."""
    number = np.cumsum(sizes) // _WINDOW_BYTES
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(sizes)]
    yield from pairwise(edges)


def _from_the_web(location: str) -> bytes:
    """Of a list of addresses some are dead, and whose they are nobody answers for."""
    try:
        return storage.read_file(location)
    except Exception as error:  # a library's of its own, for every way in which a server may fail
        raise MissingSample("cannot be fetched") from error


def _file(location: str) -> bytes:
    if location.startswith(tuple(f"{scheme}://" for scheme in storage.WEB)):
        return _from_the_web(location)
    try:
        if storage.is_remote(location):
            return storage.read_file(location)
        path = Path(location.removeprefix("file://"))
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise MissingSample("not a file")
        if found.st_size > _LARGEST_FILE:
            raise MissingSample("larger than 1 GiB")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingSample("missing file") from error
    except (PermissionError, NotADirectoryError, ValueError, ImportError) as error:
        raise MissingSample("cannot be opened") from error


def _ordered(
    pool: ThreadPoolExecutor, work: Iterable[Callable[[], Result]], *, ahead: int
) -> Iterator[Result]:
    """What each piece of work gives, in order; few are under way at a time."""
    pending: deque[Future[Result]] = deque()
    try:
        for piece in work:
            pending.append(pool.submit(piece))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
