"""The manifest: which shards a data set has, and the sample ids they carry.

`sample_id` = a shard's first id + the sample's index in it: stable for ever, because manifests only
grow at the end and a sample that should not be seen is masked, never renumbered.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import Problem, UserError

MANIFEST_FILE = "manifest.json"
Format = Literal["tar", "parquet"]
Ids = npt.NDArray[np.int64]


class Shard(BaseModel):
    """One shard file and its place in the manifest's sample sequence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="relative to the manifest's folder")
    format: Format
    samples: int = Field(gt=0)
    bytes: int = Field(gt=0)
    first_id: int = Field(ge=0)
    sha256: str

    @property
    def index_path(self) -> str:
        """Path of the shard's index, beside the shard."""
        return f"{self.path}.index.parquet"


class Manifest(BaseModel):
    """A data set: its shards in order, and the names of its classes if it has labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    shuffled: bool = Field(description="samples were shuffled globally when the shards were made")
    classes: tuple[str, ...] = Field(default=(), description="class names; a label indexes them")
    labelled: bool = Field(default=False, description="every sample has a label")
    shards: tuple[Shard, ...]

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(shard.samples for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """sha256 over the shards' contents and order: what the data is, wherever it lies."""
        digest = hashlib.sha256()
        for shard in self.shards:
            digest.update(f"{shard.first_id} {shard.samples} {shard.sha256}\n".encode())
        return digest.hexdigest()

    def boundaries(self) -> Ids:
        """Sample positions at which shards begin, and the end; (shards + 1,) int64."""
        return np.concatenate([[0], np.cumsum([s.samples for s in self.shards])]).astype(np.int64)

    def save(self, folder: Path) -> None:
        """Write `manifest.json` into the folder."""
        (folder / MANIFEST_FILE).write_text(self.model_dump_json(indent=1) + "\n")


def load_manifest(folder: str | Path) -> Manifest:
    """Read a manifest from its folder (or from the path of its file).

    Raises:
        UserError: there is none, or it is not a manifest.
    """
    path = manifest_path(folder)
    return _load_cached(str(path), path.stat().st_mtime_ns if path.exists() else 0)


def manifest_path(folder: str | Path) -> Path:
    """The manifest's file, given its folder or the file itself."""
    path = Path(folder)
    return path if path.name == MANIFEST_FILE else path / MANIFEST_FILE


@lru_cache(maxsize=8)
def _load_cached(path: str, modified: int) -> Manifest:
    if not modified:
        raise UserError(
            Problem(path, "there is no manifest here; make one with `python -m jobs shard`")
        )
    try:
        return Manifest.model_validate_json(Path(path).read_text())
    except (ValidationError, ValueError) as error:
        raise UserError(Problem(path, f"is not a manifest: {error}")) from error


def verify(folder: str | Path) -> list[Problem]:
    """Compare a manifest with the files beside it, without reading the samples.

    Returns:
        A problem for each shard or index that is missing, or has another size or count.
    """
    try:
        manifest = load_manifest(folder)
    except UserError as error:
        return error.problems
    root = manifest_path(folder).parent
    problems = []
    expected_id = 0
    for shard in manifest.shards:
        path = root / shard.path
        index = root / shard.index_path
        if not path.exists():
            problems.append(Problem(str(path), "the manifest lists this shard, but it is missing"))
        elif path.stat().st_size != shard.bytes:
            problems.append(
                Problem(
                    str(path),
                    f"has {path.stat().st_size} bytes, the manifest says {shard.bytes}",
                )
            )
        if not index.exists():
            problems.append(Problem(str(index), "the shard's index is missing"))
        else:
            problems += _verify_index(index, shard)
        if shard.first_id != expected_id:
            problems.append(
                Problem(
                    str(manifest_path(folder)),
                    f"{shard.path} starts at id {shard.first_id}, {expected_id} expected",
                )
            )
        expected_id = shard.first_id + shard.samples
    return problems


def _verify_index(index: Path, shard: Shard) -> list[Problem]:
    try:
        rows = pq.read_metadata(index).num_rows
    except pa.ArrowInvalid as error:
        return [Problem(str(index), f"is not a Parquet file: {error}")]
    if rows != shard.samples:
        return [Problem(str(index), f"has {rows} rows, the manifest says {shard.samples}")]
    return []


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
