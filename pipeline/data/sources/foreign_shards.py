"""Reads what a shard that somebody else made holds: where its images lie, its keys and labels.

A shard is read once, from its start to its end. Members that could run code when loaded (pickles,
tensors) are passed over like every other that is neither an image nor the label asked for.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.sources.parquet import image_column, label_column
from pipeline.errors import Problem, UserError

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")

_READ_BYTES = 4 << 20
_MOST_LABEL_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Which members or columns hold images and labels; None: what is there."""

    images: str | None = None  # tar: an extension; Parquet: a column
    labels: str | None = None  # tar: `cls` or `json:KEY`; Parquet: a column; `none`


@dataclass(kw_only=True)
class Contents:
    """Samples of a shard in its own order."""

    keys: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)  # as in `index.SCHEMA`
    sizes: list[int] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> samples
    image_column: str = "image"
    bytes: int = 0
    sha256: str = ""


class _Hashing(io.RawIOBase):
    """A stream that hashes and counts what is read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = bytes(self._stream.read(size))
        self.digest.update(data)
        self.count += len(data)
        return data

    def drain(self) -> None:
        """Read to the end."""
        while self.read(_READ_BYTES):
            pass


def read_contents(location: str, fields: Fields) -> Contents:
    """Find the samples of a shard.

    Args:
        location: of a tar or Parquet file.
        fields: what is image, what is label.

    Raises:
        OSError: it cannot be read.
        UserError: it is no Parquet file, or a column that was named is not there.
    """
    store, path = storage.resolve(location)
    with store.open_input_stream(path, buffer_size=_READ_BYTES) as file:
        stream = _Hashing(file)
        if storage.file_name(location).endswith(".parquet"):
            stream.drain()
            try:
                contents = _parquet_contents(location, fields)
            except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
                # Its bytes could be read a moment ago, so the fault lies in them.
                raise UserError(
                    Problem(location, f"is not a whole Parquet file: {error}")
                ) from error
        else:
            contents = _tar_contents(stream, fields)
            stream.drain()
    contents.bytes, contents.sha256 = stream.count, stream.digest.hexdigest()
    return contents


@dataclass(kw_only=True)
class _Sample:
    """Members of a tar that share a key."""

    images: dict[str, tuple[int, int]] = field(default_factory=dict)  # extension -> offset, size
    label: str | None = None


def _tar_contents(stream: _Hashing, fields: Fields) -> Contents:
    contents = Contents()
    wanted = (fields.images,) if fields.images else IMAGE_EXTENSIONS
    samples: dict[str, _Sample] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_READ_BYTES) as archive:
            for member in archive:
                if member.isfile():
                    _take_member(archive, member, samples, wanted, fields.labels, contents.left_out)
    except tarfile.ReadError:  # nothing behind a fault in the archive can be found
        contents.left_out["damaged tar"] += 1
    stream.drain()
    for key, sample in samples.items():
        whole = {e: at for e, at in sample.images.items() if sum(at) <= stream.count}
        if not whole:
            contents.left_out["truncated" if sample.images else "no image"] += 1
            continue
        offset, size = whole[min(whole, key=wanted.index)]
        contents.keys.append(key)
        contents.offsets.append(offset)
        contents.sizes.append(size)
        contents.labels.append(sample.label)
    return contents


def _take_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    samples: dict[str, _Sample],
    images: tuple[str, ...],
    labels: str | None,
    left_out: Counter[str],
) -> None:
    key, extension = _key_and_extension(member.name)
    if not extension:
        return
    label_extension, _, label_key = (labels or "cls").partition(":")
    sample = samples.setdefault(key, _Sample())
    if extension in images:
        if extension in sample.images:
            left_out["duplicate key"] += 1
        else:
            sample.images[extension] = (member.offset_data, member.size)
    elif extension == label_extension and member.size <= _MOST_LABEL_BYTES:
        file = archive.extractfile(member)
        sample.label = _label(file.read() if file else b"", label_key)


def _key_and_extension(name: str) -> tuple[str, str]:
    """WebDataset's rule: a key ends at the first dot of the file's name."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def _label(data: bytes, key: str) -> str | None:
    text = data.decode("utf-8", "replace").strip()
    if not key:
        return text or None
    try:
        value: Any = json.loads(text)
        for part in key.split("."):
            value = value[part]
    except (ValueError, KeyError, TypeError):
        return None
    return None if value is None else str(value)


def _parquet_contents(location: str, fields: Fields) -> Contents:
    store, path = storage.resolve(location)
    with pq.ParquetFile(path, filesystem=store) as file:
        contents = Contents(image_column=image_column(file.schema_arrow, fields.images, paths=True))
        label = label_column(file.schema_arrow, fields.labels)
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            contents.keys += [f"{len(contents.keys) + row:012d}" for row in range(rows)]
            contents.offsets += [group] * rows
            contents.sizes += range(rows)
            contents.labels += _group_labels(file, group, rows, label)
    return contents


def _group_labels(
    file: pq.ParquetFile, group: int, rows: int, label: str | None
) -> list[str | None]:
    if label is None:
        return [None] * rows
    column = file.read_row_group(group, columns=[label])[label]
    found: list[str | None] = column.cast(pa.string()).to_pylist()
    return found
