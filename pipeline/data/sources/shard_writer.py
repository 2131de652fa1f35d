"""Writes one shard, tar or Parquet, with its index, while its samples come.

Images are copied byte for byte, or as they were reduced. No more of a shard is in memory than some
rows, however large its images are.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.sources.index import kept_column, offset_column, size_column, write_index
from pipeline.data.sources.manifest import Format, Shard
from pipeline.data.whole_file import whole_file

# Small row groups keep what must be read to reach one sample small.
_ROWS_PER_GROUP = 64

IMAGE_COLUMN = "image"

_SIGNATURES = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tif"),
    (b"MM\x00*", "tif"),
)


@dataclass(frozen=True, kw_only=True)
class ShardLayout:
    """What all shards of a set have in common."""

    kind: Format
    classes: tuple[str, ...] = ()  # in a shard, a label is its place among them
    parts: tuple[str, ...] = ()  # names of a sample's images, if it has several
    kept: tuple[str, ...] = ()  # columns that the index keeps

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of a sample's images."""
        return self.parts or (IMAGE_COLUMN,)


@dataclass(frozen=True, kw_only=True)
class ShardSample:
    """What is written of a sample."""

    number: int
    """Its place in the plan, which names its members in a tar."""
    key: str
    images: tuple[bytes, ...]
    """Encoded; one, or as many as the layout has parts."""
    label: str | None = None
    kept: tuple[str | None, ...] = ()
    """As many as the layout keeps."""


@dataclass(kw_only=True)
class _Rows:
    """The columns of an index."""

    keys: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    places: dict[str, tuple[list[int], list[int]]]  # offsets and sizes of each part
    kept: dict[str, list[str | None]]


class _Container(Protocol):
    """A file of samples."""

    def add(self, sample: ShardSample) -> list[tuple[int, int]]:
        """Append a sample; offset and size, as in the index, of each of its images."""

    def close(self) -> None:
        """Write what is left."""


class ShardWriter:
    """Takes samples one by one; `opened` makes one."""

    def __init__(self, container: _Container, layout: ShardLayout) -> None:
        self._container = container
        self._layout = layout
        self._rows = _Rows(
            places={name: ([], []) for name in layout.columns},
            kept={name: [] for name in layout.kept},
        )

    def __len__(self) -> int:
        return len(self._rows.keys)

    def add(self, sample: ShardSample) -> None:
        """Append a sample."""
        rows = self._rows
        for (offsets, sizes), (offset, size) in zip(
            rows.places.values(), self._container.add(sample), strict=True
        ):
            offsets.append(offset)
            sizes.append(size)
        for values, value in zip(rows.kept.values(), sample.kept, strict=True):
            values.append(value)
        rows.keys.append(sample.key)
        rows.labels.append(sample.label)

    @property
    def unlabelled(self) -> int:
        """Samples without a label."""
        return self._rows.labels.count(None)

    def write_index(self, location: str, facts: Mapping[str, str]) -> None:
        """Write the index of what was added."""
        rows = self._rows
        first, *others = self._layout.columns
        more: dict[str, Sequence[int] | Sequence[str | None]] = {}
        if self._layout.kind == "tar":  # in a Parquet file all parts lie in the same row
            for name in others:
                more[offset_column(name)], more[size_column(name)] = rows.places[name]
        for name, values in rows.kept.items():
            more[kept_column(name)] = values
        offsets, sizes = rows.places[first]
        write_index(
            location,
            keys=rows.keys,
            offsets=offsets,
            sizes=sizes,
            labels=rows.labels,
            more=more,
            facts=facts,
        )


def shard_name(number: int, kind: Format) -> str:
    """Name of the shard of a number."""
    return f"shard-{number:06d}.{kind}"


@dataclass(kw_only=True)
class WrittenShard:
    """A shard's file, once it is there."""

    bytes: int = 0
    sha256: str = ""


@contextmanager
def opened(location: str, layout: ShardLayout) -> Iterator[tuple[ShardWriter, WrittenShard]]:
    """A writer of a shard that is there when the body ends, and not if the body fails.

    Args:
        location: path or URI of the shard; its index is the writer's to write, afterwards.
        layout: of the set.

    Returns:
        The writer, and what is known of the file after the body.

    Raises:
        OSError: it cannot be written.
    """
    written = WrittenShard()
    with whole_file(location) as path, path.open("wb") as file:
        stream = _Hashing(file)
        make = _Tar if layout.kind == "tar" else _Parquet
        container: _Container = make(stream, layout)
        yield ShardWriter(container, layout), written
        container.close()
        written.bytes, written.sha256 = stream.count, stream.digest.hexdigest()


def write_shard(
    samples: Sequence[ShardSample], folder: str, number: int, first_id: int, layout: ShardLayout
) -> Shard:
    """Write a shard and its index into a folder.

    Args:
        samples: at least one.
        folder: path or URI.
        number: the shard's number, part of its name.
        first_id: id of its first sample.
        layout: of the set.

    Returns:
        The shard's line in the manifest.
    """
    name = shard_name(number, layout.kind)
    with opened(storage.join(folder, name), layout) as (writer, written):
        for sample in samples:
            writer.add(sample)
    shard = Shard(
        path=name,
        format=layout.kind,
        samples=len(writer),
        bytes=written.bytes,
        first_id=first_id,
        sha256=written.sha256,
    )
    writer.write_index(storage.join(folder, shard.index_path), {})
    return shard


class _Hashing(io.RawIOBase):
    """A file that is hashed while it is written, from its start to its end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        self._file.write(data)
        self.digest.update(data)
        size = memoryview(data).nbytes
        self.count += size
        return size

    def tell(self) -> int:
        return self.count


class _Tar:
    """Members `NUMBER.jpg` and `NUMBER.cls` in turn, as WebDataset reads them.

    Of several images `NUMBER.left.jpg`, `NUMBER.right.jpg`. Times and owners are zero. By the
    standard library, because webdataset's own writer imports torch, for seconds.
    """

    def __init__(self, stream: _Hashing, layout: ShardLayout) -> None:
        self._archive = tarfile.TarFile(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT)
        self._parts = layout.parts
        self._numbers = {name: number for number, name in enumerate(layout.classes)}

    def add(self, sample: ShardSample) -> list[tuple[int, int]]:
        key = f"{sample.number:012d}"
        places = []
        for number, image in enumerate(sample.images):
            places.append((self._archive.offset + tarfile.BLOCKSIZE, len(image)))
            part = f".{self._parts[number]}" if self._parts else ""
            self._add_member(f"{key}{part}.{_extension(image)}", image)
        if sample.label is not None:
            self._add_member(f"{key}.cls", str(self._numbers[sample.label]).encode())
        return places

    def _add_member(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._archive.addfile(member, io.BytesIO(data))

    def close(self) -> None:
        self._archive.close()


class _Parquet:
    """Columns key, an image or the parts, label; in row groups of 64."""

    def __init__(self, stream: _Hashing, layout: ShardLayout) -> None:
        images = [(name, pa.binary()) for name in layout.columns]
        self._schema = pa.schema([("key", pa.string()), *images, ("label", pa.int32())])
        self._writer = pq.ParquetWriter(
            pa.PythonFile(stream, mode="w"),
            self._schema,
            compression="none",
            use_dictionary=False,
        )
        self._numbers = {name: number for number, name in enumerate(layout.classes)}
        self._group: list[tuple[object, ...]] = []
        self._groups = 0

    def add(self, sample: ShardSample) -> list[tuple[int, int]]:
        label = None if sample.label is None else self._numbers[sample.label]
        place = (self._groups, len(self._group))
        self._group.append((sample.key, *sample.images, label))
        if len(self._group) == _ROWS_PER_GROUP:
            self._write_group()
        return [place] * len(sample.images)

    def _write_group(self) -> None:
        columns = zip(*self._group, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._group = []
        self._groups += 1

    def close(self) -> None:
        if self._group:
            self._write_group()
        self._writer.close()


def _extension(image: bytes) -> str:
    for signature, extension in _SIGNATURES:
        if image.startswith(signature):
            return extension
    return "webp" if image[8:12] == b"WEBP" else "img"
