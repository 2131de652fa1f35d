"""Samples that a run leaves out: a mask over ids, which stay what they are.

Orders are made of ranks, a sample's number among those left; `Exclusion` turns ranks into ids.
Ranks of the i-th manifest begin at i * 2**40, as its ids do, so with nothing left out they are one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.order.corpus import SOURCE_STRIDE
from pipeline.data.sources.manifest import Ids, StoreAwayError
from pipeline.errors import Problem, UserError

SETTING = "data.exclude"

_COLUMN = "sample_id"
_PARQUET = b"PAR1"
_ALLOWED = f"allowed: Parquet with a column {_COLUMN} of int64, or text with one id a line"


class Exclusion:
    """Ids that are left out; equal if the ids are.

    It travels with every read task. One that came from a file goes without its ids, which each
    process reads once, from the same file.
    """

    sha256: str
    """Of the sorted ids, little-endian int64: what is left out, wherever it is written."""

    def __init__(self, ids: Ids | Sequence[int] = (), *, location: str | None = None) -> None:
        """Leave samples out.

        Args:
            ids: of samples, in any order, once or more; (n,) int64.
            location: of the file that they are from, absolute.
        """
        self._location = location
        self._ids: Ids | None = np.unique(np.asarray(ids, dtype=np.int64))
        self.sha256 = hashlib.sha256(self._ids.astype("<i8").tobytes()).hexdigest()

    @property
    def ids(self) -> Ids:
        """Sorted, each once; (n,) int64.

        Raises:
            UserError: the file has changed or is gone.
            StoreAwayError: its store does not answer.
        """
        if self._ids is None:
            assert self._location is not None
            self._ids = _same_ids(self._location, self.sha256)
        return self._ids

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exclusion) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"Exclusion({self._location or ''}, sha256={self.sha256[:8]})"

    def __getstate__(self) -> dict[str, Any]:
        ids = None if self._location is not None else self._ids
        return {"_location": self._location, "_ids": ids, "sha256": self.sha256}

    def count(self, low: int, high: int) -> int:
        """How many of the ids low … high - 1 are left out."""
        first, last = np.searchsorted(self.ids, [low, high])
        return int(last - first)

    def ids_at(self, ranks: Ids) -> Ids:
        """Ids of samples by their ranks; (n,) int64 both."""
        if not len(self):
            return ranks
        before = np.searchsorted(self._ranks_behind, ranks, side="right")
        return np.asarray(ranks + before - self._before_manifest(ranks))

    def ranks_of(self, ids: Ids) -> Ids:
        """Ranks of ids (n,) int64; of one that is left out, that of the next one that is not."""
        if not len(self):
            return ids
        return np.asarray(ids - np.searchsorted(self.ids, ids) + self._before_manifest(ids))

    def runs(self, low: int, high: int) -> Ids:
        """Runs of ids without a gap at ranks low … high - 1; (k, 2) int64, first and after last."""
        if not len(self):
            return np.array([[low, high]], dtype=np.int64)
        first, last = np.searchsorted(self._ranks_behind, [low, high - 1], side="right")
        inner = np.unique(self._ranks_behind[first:last])
        starts, ends = np.append(low, inner), np.append(inner, high)
        return np.stack([self.ids_at(starts), self.ids_at(ends - 1) + 1], axis=1)

    @cached_property
    def _ranks_behind(self) -> Ids:
        """The rank of the first sample behind each id, as if none behind it were left out."""
        numbers = np.arange(len(self))
        return np.asarray(self.ids - numbers + self._before_manifest(self.ids))

    def _before_manifest(self, ids_or_ranks: Ids) -> Ids:
        """How many are left out of the manifests before the one of each."""
        starts = ids_or_ranks // SOURCE_STRIDE * SOURCE_STRIDE
        return np.searchsorted(self.ids, starts).astype(np.int64)

    def unknown(self, samples: Sequence[int]) -> Ids:
        """Ids that no manifest has.

        Args:
            samples: of each manifest.
        """
        source, within = np.divmod(self.ids, SOURCE_STRIDE)
        inside = (source >= 0) & (source < len(samples))
        counts = np.asarray(samples, dtype=np.int64)
        known = inside & (within < counts[np.where(inside, source, 0)])
        return self.ids[~known]

    def to_parquet(self) -> bytes:
        """A file that `load_exclusion` reads."""
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({_COLUMN: self.ids}), sink)
        return bytes(sink.getvalue().to_pybytes())


NOTHING = Exclusion()
"""Every sample is left."""


def load_exclusion(location: str | None) -> Exclusion:
    """Read the ids of a file, once in a process unless it changes; None: nothing is left out.

    Args:
        location: path or URI of a Parquet file with a column `sample_id` of int64, others being
            ignored, or of a text file with one id a line, blank lines being ignored.

    Raises:
        UserError: there is no such file, or it is not such a file.
        StoreAwayError: its store does not answer.
    """
    if location is None:
        return NOTHING
    try:
        state = storage.state_of(location)
        if state is None:
            raise _problem(location, "there is no such file")
        return _load(storage.absolute(location), state)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise StoreAwayError(Problem(SETTING, f"{location} cannot be read: {reason}")) from error
    except (ValueError, ImportError) as error:
        raise _problem(location, f"cannot be read: {' '.join(str(error).split())}") from error


@lru_cache(maxsize=4)
def _load(location: str, state: tuple[int, int]) -> Exclusion:
    if storage.read_range(location, 0, len(_PARQUET)) == _PARQUET:
        return Exclusion(_ids_of_parquet(location), location=location)
    return Exclusion(_ids_of_text(location), location=location)


def _ids_of_parquet(location: str) -> Ids:
    store, path = storage.resolve(location)

    def read() -> pa.ChunkedArray | int:
        with store.open_input_file(path) as file:
            table = pq.ParquetFile(file)
            if (count := table.schema_arrow.names.count(_COLUMN)) != 1:
                return int(count)
            return table.read(columns=[_COLUMN])[_COLUMN]

    try:
        column = storage.retrying(read)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _problem(location, f"is not a Parquet file that can be read: {error}") from error
    if isinstance(column, int):
        columns = f"{column} columns" if column else "no column"
        raise _problem(location, f"has {columns} {_COLUMN}; {_ALLOWED}")
    if column.type != pa.int64():
        raise _problem(location, f"its column {_COLUMN} is of {column.type}; {_ALLOWED}")
    if column.null_count:
        raise _problem(location, f"its column {_COLUMN} has {column.null_count} nulls; {_ALLOWED}")
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _ids_of_text(location: str) -> Ids:
    found = []
    for number, line in enumerate(storage.read_file(location).splitlines(), start=1):
        text = line.strip()
        if not text:
            continue
        if not text.isdigit() or int(text) >= 1 << 63:
            shown = text[:40].decode(errors="replace")
            raise _problem(location, f"line {number} is {shown!r}, which is no id; {_ALLOWED}")
        found.append(int(text))
    return np.array(found, dtype=np.int64)


@lru_cache(maxsize=4)
def _same_ids(location: str, sha256: str) -> Ids:
    found = load_exclusion(location)
    if found.sha256 != sha256:
        raise _problem(location, "has changed since the run began; a run cannot change")
    return found.ids


def _problem(location: str, message: str) -> UserError:
    return UserError(Problem(SETTING, f"{location}: {message}"))
