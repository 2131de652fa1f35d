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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.sources.index import offset_column, size_column
from pipeline.data.sources.parquet import image_column, label_column
from pipeline.data.sources.parts import part_names
from pipeline.errors import Problem, UserError

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")

_READ_BYTES = 4 << 20
_MOST_LABEL_BYTES = 1 << 20
_ROWS_AT_A_TIME = 16  # whose images are in memory


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Which members or columns hold images and labels; None: what is there."""

    images: str | None = None  # tar: an extension; Parquet: a column; of several, `left,right`
    labels: str | None = None  # tar: `cls` or `json:KEY`; Parquet: a column; `none`

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of a sample's images; () if it is one."""
        return part_names(self.images)


@dataclass(kw_only=True)
class Contents:
    """Samples of a shard in its own order."""

    keys: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)  # as in `index.SCHEMA`
    sizes: list[int] = field(default_factory=list)
    further: dict[str, list[int]] = field(default_factory=dict)
    """Columns of the index for the images of a tar's samples after the first."""
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


def _wanted(fields: Fields) -> dict[str, tuple[str, ...]]:
    """Extensions of the members that may be an image, the preferred first; by part, if any."""
    if fields.parts:
        return {
            name: tuple(f"{name}.{e}".lower() for e in IMAGE_EXTENSIONS) for name in fields.parts
        }
    return {"": (fields.images,) if fields.images else IMAGE_EXTENSIONS}


def _tar_contents(stream: _Hashing, fields: Fields) -> Contents:
    wanted = _wanted(fields)
    extensions = frozenset(chain.from_iterable(wanted.values()))
    further = [*wanted][1:]
    contents = Contents(
        further={column(name): [] for name in further for column in (offset_column, size_column)}
    )
    samples: dict[str, _Sample] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_READ_BYTES) as archive:
            for member in archive:
                if member.isfile():
                    _take_member(
                        archive, member, samples, extensions, fields.labels, contents.left_out
                    )
    except tarfile.ReadError:  # nothing behind a fault in the archive can be found
        contents.left_out["damaged tar"] += 1
    stream.drain()
    for key, sample in samples.items():
        places = {name: _place(sample, wanted[name], stream.count) for name in wanted}
        if None in places.values():
            contents.left_out[_lack(sample, wanted, places)] += 1
            continue
        (offset, size), *others = [place for place in places.values() if place is not None]
        contents.keys.append(key)
        contents.offsets.append(offset)
        contents.sizes.append(size)
        contents.labels.append(sample.label)
        for name, (offset, size) in zip(further, others, strict=True):
            contents.further[offset_column(name)].append(offset)
            contents.further[size_column(name)].append(size)
    return contents


def _place(sample: _Sample, extensions: Sequence[str], end: int) -> tuple[int, int] | None:
    """Offset and size of the preferred image that is whole."""
    found = (sample.images.get(extension) for extension in extensions)
    return next((at for at in found if at is not None and sum(at) <= end), None)


def _lack(
    sample: _Sample,
    wanted: Mapping[str, Sequence[str]],
    places: Mapping[str, tuple[int, int] | None],
) -> str:
    """Why a sample is left out."""
    missing = [name for name, place in places.items() if place is None]
    if any(extension in sample.images for name in missing for extension in wanted[name]):
        return "truncated"
    if len(missing) == len(wanted):
        return "no image"
    return f"lacks {' and '.join(missing)}"


def _take_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    samples: dict[str, _Sample],
    images: Collection[str],
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
    contents, first = Contents(), 0
    with pq.ParquetFile(path, filesystem=store) as file:
        columns = [
            image_column(file.schema_arrow, name, paths=True)
            for name in fields.parts or (fields.images,)
        ]
        if not fields.parts:
            (contents.image_column,) = columns
        label = label_column(file.schema_arrow, fields.labels)
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            labels = _group_labels(file, group, count, label)
            # A sample of one image that is null is told when it is read, as it always was.
            lacks = _lacks(file, group, fields.parts) if fields.parts else [()] * count
            for row, (missing, of_row) in enumerate(zip(lacks, labels, strict=True)):
                if missing:
                    every = len(missing) == len(columns)
                    reason = "no image" if every else f"lacks {' and '.join(missing)}"
                    contents.left_out[reason] += 1
                    continue
                contents.keys.append(f"{first + row:012d}")
                contents.offsets.append(group)
                contents.sizes.append(row)
                contents.labels.append(of_row)
            first += count
    return contents


def _lacks(file: pq.ParquetFile, group: int, parts: Sequence[str]) -> list[tuple[str, ...]]:
    """The parts that each row of a group has not."""
    metadata = file.metadata.row_group(group)
    open_ones = [name for name in parts if not _is_full(metadata, name)]
    if not open_ones:  # images need not be read for it
        return [()] * metadata.num_rows
    found: list[tuple[str, ...]] = []
    for batch in file.iter_batches(_ROWS_AT_A_TIME, row_groups=[group], columns=open_ones):
        lacking = np.stack([_nulls(batch.column(name)) for name in open_ones], axis=1)
        found += [tuple(compress(open_ones, row)) for row in lacking.tolist()]
    return found


def _is_full(metadata: pq.RowGroupMetaData, column: str) -> bool:
    """Whether the file says that all of a row group's images are there."""
    leaves = (metadata.column(number) for number in range(metadata.num_columns))
    own = [leaf for leaf in leaves if leaf.path_in_schema in (column, f"{column}.bytes")]
    said = [leaf.statistics for leaf in own]
    return all(s is not None and s.has_null_count and not s.null_count for s in said)


def _nulls(cells: pa.Array) -> npt.NDArray[np.bool_]:
    """Which cells (n,) have neither bytes nor a path."""
    if pa.types.is_struct(cells.type):
        cells = pc.struct_field(cells, "bytes")
    nulls: npt.NDArray[np.bool_] = cells.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _group_labels(
    file: pq.ParquetFile, group: int, rows: int, label: str | None
) -> list[str | None]:
    if label is None:
        return [None] * rows
    column = file.read_row_group(group, columns=[label])[label]
    found: list[str | None] = column.cast(pa.string()).to_pylist()
    return found
