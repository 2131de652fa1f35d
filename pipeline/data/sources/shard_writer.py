"""Writes one shard, tar or Parquet, with its index; the bytes of an image are copied untouched."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.sources.index import write_index
from pipeline.data.sources.manifest import Format, Shard

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


@dataclass(kw_only=True)
class ShardContent:
    """Samples that will make a shard."""

    first_id: int
    keys: list[str] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: str, image: bytes, label: str | None) -> None:
        """Append a sample: its key, its encoded image, the name of its class or None."""
        self.keys.append(key)
        self.images.append(image)
        self.labels.append(label)


def write_shard(
    content: ShardContent, folder: Path, number: int, kind: Format, classes: Sequence[str]
) -> Shard:
    """Write a shard and its index into the folder.

    Args:
        content: at least one sample.
        folder: where to.
        number: the shard's number, part of its name.
        kind: `tar` (WebDataset: `ID.jpg`, `ID.cls`) or `parquet` (columns key, image, label).
        classes: their names; in the shard a label is its place among them.

    Returns:
        The shard's line in the manifest.
    """
    path = folder / f"shard-{number:06d}.{kind}"
    write = _write_tar if kind == "tar" else _write_parquet
    offsets, sizes = write(content, path, classes)
    shard = Shard(
        path=path.name,
        format=kind,
        samples=len(content),
        bytes=path.stat().st_size,
        first_id=content.first_id,
        sha256=_sha256(path),
    )
    write_index(
        folder / shard.index_path,
        keys=content.keys,
        offsets=offsets,
        sizes=sizes,
        labels=content.labels,
    )
    return shard


def _write_tar(
    content: ShardContent, path: Path, classes: Sequence[str]
) -> tuple[list[int], list[int]]:
    """Members `ID.jpg` and `ID.cls` in turn, as WebDataset reads them; times and owners are zero.

    By the standard library, because webdataset's own writer imports torch, for seconds.
    """
    offsets = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for row, (image, label) in enumerate(zip(content.images, content.labels, strict=True)):
            key = f"{content.first_id + row:012d}"
            offsets.append(archive.offset + tarfile.BLOCKSIZE)
            _add_member(archive, f"{key}.{_extension(image)}", image)
            if label is not None:
                _add_member(archive, f"{key}.cls", str(classes.index(label)).encode())
    return offsets, [len(image) for image in content.images]


def _add_member(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _write_parquet(
    content: ShardContent, path: Path, classes: Sequence[str]
) -> tuple[list[int], list[int]]:
    numbers = [None if label is None else classes.index(label) for label in content.labels]
    table = pa.table(
        {
            "key": pa.array(content.keys, pa.string()),
            IMAGE_COLUMN: pa.array(content.images, pa.binary()),
            "label": pa.array(numbers, pa.int32()),
        }
    )
    pq.write_table(
        table, path, row_group_size=_ROWS_PER_GROUP, compression="none", use_dictionary=False
    )
    rows = range(len(content))
    return [row // _ROWS_PER_GROUP for row in rows], [row % _ROWS_PER_GROUP for row in rows]


def _extension(image: bytes) -> str:
    for signature, extension in _SIGNATURES:
        if image.startswith(signature):
            return extension
    return "webp" if image[8:12] == b"WEBP" else "img"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
