"""The manifest: which shards a data set has, and the sample ids they carry.

`sample_id` = a shard's first id + the sample's index in it: stable for ever, because manifests only
grow at the end and a sample that should not be seen is masked, never renumbered.

A manifest is an Arrow file, so that one of a million shards is mapped, not parsed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.data import storage
from pipeline.errors import Problem, UserError

MANIFEST_FILE = "manifest.arrow"
UNFINISHED = ".sharding"
"""A folder that lies beside the shards, or above, while `jobs shard` makes them."""

Format = Literal["tar", "parquet"]
Ids = npt.NDArray[np.int64]

SCHEMA = pa.schema(
    [
        ("path", pa.string()),  # relative to the manifest's folder, absolute, or a URI
        ("format", pa.string()),  # tar or parquet
        ("samples", pa.int64()),
        ("bytes", pa.int64()),
        ("first_id", pa.int64()),
        ("sha256", pa.string()),
    ]
)

_HEADER = b"manifest"
_VERSION = 3
_READABLE = (2, 3)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One shard file and its place in the manifest's sample sequence."""

    path: str  # relative to the manifest's folder, absolute, or a URI
    format: Format
    samples: int
    bytes: int
    first_id: int
    sha256: str

    @property
    def index_path(self) -> str:
        """Path of the shard's index: in the manifest's folder, whose own shards lie beside it."""
        return index_name(self.path)


def index_name(shard_path: str) -> str:
    """Name of a shard's index in the manifest's folder."""
    if "://" not in shard_path and not shard_path.startswith("/"):
        return f"{shard_path}.index.parquet"
    # Shards of one name may lie in several folders.
    digest = hashlib.sha256(shard_path.encode()).hexdigest()[:12]
    return f"{storage.file_name(shard_path)}.{digest}.index.parquet"


class Shards(Sequence[Shard]):
    """The rows of a manifest, each made when it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, shards: Sequence[Shard]) -> Shards:
        """Take over any sequence of shards."""
        if isinstance(shards, Shards):
            return shards
        rows = [{name: getattr(shard, name) for name in SCHEMA.names} for shard in shards]
        return cls(pa.Table.from_pylist(rows, schema=SCHEMA))

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, number: int) -> Shard: ...
    @overload
    def __getitem__(self, number: slice) -> Shards: ...
    def __getitem__(self, number: int | slice) -> Shard | Shards:
        if isinstance(number, slice):
            first, stop, _ = number.indices(len(self))
            return Shards(self.table.slice(first, stop - first))
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        row = self.table.slice(number % len(self), 1)
        return Shard(**row.to_pylist()[0])

    def __iter__(self) -> Iterator[Shard]:
        for batch in self.table.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                yield Shard(**row)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shards) and self.table.equals(other.table)

    def __hash__(self) -> int:
        return hash((len(self), self.table["first_id"][-1].as_py() if len(self) else 0))


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A data set: its shards in order, and the names of its classes if it has labels."""

    shards: Shards  # in the order of their ids
    shuffled: bool  # samples were shuffled globally when the shards were made
    classes: tuple[str, ...] = ()  # class names; a label is an index into them
    unlabelled: int = 0  # samples without a label, where others have one
    image_column: str = "image"  # of Parquet shards, if a sample is one image
    parts: tuple[str, ...] = ()  # names of a sample's images, if it has several
    kept: tuple[str, ...] = ()  # further columns of the indexes

    @property
    def labelled(self) -> bool:
        """Whether there are labels; `unlabelled` samples may still have none."""
        return bool(self.classes)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.boundaries()[-1])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the shards' contents and order: what the data is, wherever it lies."""
        digest = hashlib.sha256()
        for batch in self.shards.table.to_batches(max_chunksize=65536):
            columns = (batch[name].to_pylist() for name in ("first_id", "samples", "sha256"))
            lines = (f"{first} {count} {sha}\n" for first, count, sha in zip(*columns, strict=True))
            digest.update("".join(lines).encode())
        if self.parts:  # the same shards are other data as pairs, and with another image first
            digest.update(json.dumps(self.parts).encode())
        return digest.hexdigest()

    def boundaries(self) -> Ids:
        """Sample positions at which shards begin, and the end; (shards + 1,) int64."""
        return self._boundaries

    @cached_property
    def _boundaries(self) -> Ids:
        counts = self.shards.table["samples"].to_numpy()
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def save(self, folder: str | Path) -> None:
        """Write the manifest's file into the folder, in one step."""
        header = json.dumps({"version": _VERSION, **self._header()})
        table = self.shards.table.combine_chunks().replace_schema_metadata({_HEADER: header})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        storage.write_file(manifest_path(folder), sink.getvalue().to_pybytes())

    def _header(self) -> dict[str, Any]:
        return {
            "shuffled": self.shuffled,
            "classes": list(self.classes),
            "unlabelled": self.unlabelled,
            "image_column": self.image_column,
            "parts": list(self.parts),
            "kept": list(self.kept),
        }


class StoreAwayError(UserError):
    """A store does not say what it holds: a mistake before a run begins, an outage after that."""


def load_manifest(folder: str | Path) -> Manifest:
    """Read a manifest from its folder (or from the path of its file).

    Raises:
        UserError: there is none, or it is not a manifest.
        StoreAwayError: its store does not answer.
    """
    path = manifest_path(folder)
    if storage.is_remote(path):
        return _load_remote(path)
    modified = Path(path).stat().st_mtime_ns if Path(path).exists() else 0
    return _load_local(path, modified)


def manifest_path(folder: str | Path) -> str:
    """The manifest's file, given its folder or the file itself."""
    location = str(folder)
    if storage.file_name(location) == MANIFEST_FILE:
        return location
    return storage.join(location, MANIFEST_FILE)


def manifest_root(folder: str | Path) -> str:
    """The folder of a manifest, given the folder or the manifest's file."""
    return storage.parent(manifest_path(folder))


@lru_cache(maxsize=8)
def _load_local(path: str, modified: int) -> Manifest:
    if not modified:
        raise _no_manifest(path)
    return _parse(path, pa.memory_map(path))


@lru_cache(maxsize=8)
def _load_remote(path: str) -> Manifest:
    try:
        return _parse(path, pa.py_buffer(storage.read_file(path)))
    except FileNotFoundError as error:
        raise _no_manifest(path) from error
    except OSError as error:
        raise StoreAwayError(Problem(path, f"cannot be read: {error}")) from error
    except (ValueError, ImportError) as error:
        raise UserError(Problem(path, f"cannot be read: {error}")) from error


def _no_manifest(path: str) -> UserError:
    folder = storage.parent(path)
    for place in (folder, storage.parent(folder)):
        if storage.size_of(storage.join(storage.join(place, UNFINISHED), "job.json")) is not None:
            message = f"{place} was not filled to its end; the same `jobs shard` goes on"
            return UserError(Problem(path, message))
    return UserError(
        Problem(path, "there is no manifest here; make one with `python -m jobs shard`")
    )


def _parse(path: str, source: Any) -> Manifest:
    try:
        table = pa.ipc.open_file(source).read_all()
        header = json.loads((table.schema.metadata or {}).get(_HEADER, b"null"))
        if header is None or not table.schema.equals(SCHEMA, check_metadata=False):
            raise ValueError("its columns are others")
        if header.pop("version") not in _READABLE:
            raise ValueError(f"its version is not {_VERSION}; make it anew")
        header.pop("labelled", None)  # of version 2, which did not count what has no label
        for name in ("classes", "parts", "kept"):
            header[name] = tuple(header.get(name, ()))
        return Manifest(shards=Shards(table.replace_schema_metadata()), **header)
    except (pa.ArrowInvalid, ValueError, TypeError, KeyError) as error:
        raise UserError(Problem(path, f"is not a manifest: {error}")) from error


def locate(boundaries: Ids, positions: Ids) -> tuple[Ids, Ids]:
    """Shard number and index in the shard of positions in the sample sequence; both (n,) int64."""
    shard = np.searchsorted(boundaries, positions, side="right") - 1
    return shard, positions - boundaries[shard]


def class_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Distinct labels in the order in which a person would list them (numbers by value)."""
    distinct = set(labels)
    if distinct and all(re.fullmatch(r"-?[0-9]+", label) for label in distinct):
        return tuple(sorted(distinct, key=lambda label: (int(label), label)))
    return tuple(sorted(distinct))
