"""What can be turned into shards: an image folder, an .npz, or a Parquet table.

A source yields its samples in one global shuffle: by a hash of the seed and the sample's number, so
the same source and seed give the same shards, and a table need not fit in memory.
"""

from __future__ import annotations

import csv
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.decode import encode_png
from pipeline.data.manifest import class_names
from pipeline.errors import Problem, UserError
from pipeline.randomness import mix

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"})

_BUCKET_BYTES = 256 << 20


class RawSample(NamedTuple):
    """An encoded image before it is checked."""

    key: str
    data: bytes
    label: str | None


class Source(Protocol):
    """A set of encoded images that can be listed in a global shuffle."""

    def __len__(self) -> int:
        """Number of samples, readable or not."""

    def classes(self) -> tuple[str, ...]:
        """Names of the labels; empty without labels."""

    def shuffled(self, seed: int) -> Iterator[RawSample]:
        """Every sample once, in an order that depends on the seed alone."""


def open_source(src: Path, *, labels: str | None, images: str | None) -> Source:
    """Open what the user points at.

    Args:
        src: a folder of images, an `.npz`, or a Parquet file or a folder of them.
        labels: for a folder `folder` (names of the sub-folders) or a csv with the columns file and
            label; for an `.npz` a key; for Parquet a column. None means: what is there.
            `none` means: no labels.
        images: key or column that holds the images. None means: what is there.

    Raises:
        UserError: there is nothing to read.
    """
    if not src.exists():
        raise UserError(Problem(str(src), "does not exist"))
    if src.is_file() and src.suffix == ".npz":
        return NpzSource(src, labels=labels, images=images)
    tables = [src] if src.is_file() and src.suffix == ".parquet" else sorted(src.glob("*.parquet"))
    if tables:
        return ParquetSource(tables, labels=labels, images=images)
    if src.is_dir():
        return FolderSource(src, labels=labels)
    raise UserError(Problem(str(src), "is not a folder of images, an .npz or a Parquet table"))


class FolderSource:
    """A folder of image files, with labels from its sub-folders or from a csv."""

    def __init__(self, root: Path, *, labels: str | None) -> None:
        self._files = sorted(
            path for path in root.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file()
        )
        if not self._files:
            raise UserError(
                Problem(
                    str(root),
                    f"holds no image file, not even in a subfolder; looked for "
                    f"{', '.join(sorted(EXTENSIONS))}",
                )
            )
        self._root = root
        self._labels = self._find_labels(labels)

    def _find_labels(self, labels: str | None) -> dict[Path, str] | None:
        in_folders = all(path.parent != self._root for path in self._files)
        if labels == "none" or (labels is None and not in_folders):
            return None
        if labels in (None, "folder"):
            if not in_folders:
                loose = next(path for path in self._files if path.parent == self._root)
                raise UserError(Problem("--labels", f"folder, but {loose} lies in no sub-folder"))
            return {p: p.relative_to(self._root).parts[0] for p in self._files}
        return self._labels_from_csv(Path(str(labels)))

    def _labels_from_csv(self, path: Path) -> dict[Path, str]:
        if not path.is_file():
            raise UserError(
                Problem("--labels", f"{path} is neither `folder`, `none` nor a csv file")
            )
        try:
            rows = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
        except UnicodeDecodeError as error:
            raise UserError(Problem(str(path), f"is not UTF-8: {error}")) from error
        if not {"file", "label"} <= set(rows.fieldnames or ()):
            raise UserError(
                Problem(str(path), f"needs the columns file and label, has {rows.fieldnames}")
            )
        by_file = {self._root / row["file"]: row["label"] for row in rows if row["label"]}
        unlabelled = [file for file in self._files if file not in by_file]
        if unlabelled:
            raise UserError(
                Problem(
                    str(path),
                    f"has no label for {len(unlabelled)} files, the first is "
                    f"{unlabelled[0].relative_to(self._root)}",
                )
            )
        return by_file

    def __len__(self) -> int:
        return len(self._files)

    def classes(self) -> tuple[str, ...]:
        return class_names([] if self._labels is None else list(self._labels.values()))

    def shuffled(self, seed: int) -> Iterator[RawSample]:
        for number in np.argsort(_shuffle_keys(seed, 0, len(self._files)), kind="stable"):
            path = self._files[number]
            label = self._labels[path] if self._labels is not None else None
            yield RawSample(str(path.relative_to(self._root)), path.read_bytes(), label)


class NpzSource:
    """An array of images, (N, H, W) grey or (N, H, W, 3), uint8."""

    def __init__(self, path: Path, *, labels: str | None, images: str | None) -> None:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                self._images = _choose_images(path, arrays, images)
                self._labels = _choose_labels(path, arrays, labels, len(self._images))
        except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(Problem(str(path), f"cannot be read as an .npz: {error}")) from error

    def __len__(self) -> int:
        return len(self._images)

    def classes(self) -> tuple[str, ...]:
        return class_names([] if self._labels is None else self._labels.astype(str).tolist())

    def shuffled(self, seed: int) -> Iterator[RawSample]:
        for number in np.argsort(_shuffle_keys(seed, 0, len(self)), kind="stable"):
            label = str(self._labels[number]) if self._labels is not None else None
            yield RawSample(f"{number:09d}.png", encode_png(self._images[number]), label)


def _choose_images(path: Path, arrays: Any, key: str | None) -> npt.NDArray[np.uint8]:
    fitting = [name for name in arrays.files if _holds_images(arrays[name])]
    if key is None:
        if len(fitting) != 1:
            raise UserError(
                Problem(
                    "--images",
                    f"{path} has {len(fitting)} arrays of images ({', '.join(fitting)}); name one"
                    if fitting
                    else f"{path} has no uint8 array (N, H, W) or (N, H, W, 3); it has "
                    f"{', '.join(arrays.files)}",
                )
            )
        key = fitting[0]
    if key not in fitting:
        raise UserError(
            Problem("--images", f"{key} is not one of the arrays of images: {', '.join(fitting)}")
        )
    return np.asarray(arrays[key])


def _holds_images(array: npt.NDArray[Any]) -> bool:
    grey, colour = array.ndim == 3, array.ndim == 4 and array.shape[-1] == 3
    return array.dtype == np.uint8 and array.size > 0 and (grey or colour)


def _choose_labels(path: Path, arrays: Any, key: str | None, count: int) -> npt.NDArray[Any] | None:
    if key == "none":
        return None
    fitting = [name for name in arrays.files if arrays[name].shape == (count,)]
    if key is None:
        integers = [name for name in fitting if arrays[name].dtype.kind in "iu"]
        return np.asarray(arrays[integers[0]]) if len(integers) == 1 else None
    if key not in fitting:
        raise UserError(
            Problem("--labels", f"{key} is not one of {path}'s arrays of {count}: {fitting}")
        )
    return np.asarray(arrays[key])


class ParquetSource:
    """A table with a column of encoded images: binary, or a struct with a field `bytes`."""

    def __init__(self, files: list[Path], *, labels: str | None, images: str | None) -> None:
        self._files = files
        try:
            schema = pq.read_schema(files[0])
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(Problem(str(files[0]), f"is not a Parquet file: {error}")) from error
        self._image = image_column(schema, images, paths=False)
        self._label = label_column(schema, labels)

    def classes(self) -> tuple[str, ...]:
        if self._label is None:
            return ()
        columns = (pq.read_table(path, columns=[self._label])[self._label] for path in self._files)
        labels = (column.unique().cast(pa.string()).to_pylist() for column in columns)
        return class_names([label for column in labels for label in column if label is not None])

    def __len__(self) -> int:
        return sum(pq.read_metadata(path).num_rows for path in self._files)

    def shuffled(self, seed: int) -> Iterator[RawSample]:
        size = sum(path.stat().st_size for path in self._files)
        buckets = max(1, size // _BUCKET_BYTES)
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{bucket}.arrow" for bucket in range(buckets)]
            self._distribute(seed, paths)
            for path in paths:
                table = pa.ipc.open_stream(path).read_all().sort_by("shuffle")
                for row in table.to_batches(max_chunksize=64):
                    yield from self._samples(row)

    def _distribute(self, seed: int, paths: list[Path]) -> None:
        """Range-partition rows by their hash: each bucket, sorted, continues the one before."""
        schema = pa.schema(
            [
                ("shuffle", pa.uint64()),
                ("key", pa.string()),
                ("data", pa.binary()),
                ("label", pa.string()),
            ]
        )
        writers = [pa.ipc.new_stream(path, schema) for path in paths]
        try:
            first = 0
            for file in self._files:
                for batch in pq.ParquetFile(file).iter_batches(batch_size=1024):
                    rows = self._rows(batch, seed, first, schema)
                    high = (rows["shuffle"].to_numpy() >> np.uint64(32)).astype(np.int64)
                    bucket = high * len(paths) >> 32
                    for number, writer in enumerate(writers):
                        writer.write_table(rows.filter(pa.array(bucket == number)))
                    first += len(batch)
        finally:
            for writer in writers:
                writer.close()

    def _rows(self, batch: pa.RecordBatch, seed: int, first: int, schema: pa.Schema) -> pa.Table:
        data = batch.column(self._image)
        if pa.types.is_struct(data.type):
            data = data.field("bytes")
        labels = (
            batch.column(self._label).cast(pa.string())
            if self._label
            else pa.nulls(len(batch), pa.string())
        )
        keys = [f"{first + row:012d}" for row in range(len(batch))]
        shuffle = _shuffle_keys(seed, first, first + len(batch))
        return pa.table([shuffle, keys, data.cast(pa.binary()), labels], schema=schema)

    @staticmethod
    def _samples(rows: pa.RecordBatch) -> Iterator[RawSample]:
        for row in rows.to_pylist():
            yield RawSample(row["key"], row["data"] or b"", row["label"])


def image_column(schema: pa.Schema, name: str | None, *, paths: bool) -> str:
    """The column of encoded images, by name or because there is but one.

    Args:
        schema: of the table.
        name: what the user said, or None.
        paths: a column of strings that was named will do: paths beside the table.

    Raises:
        UserError: there is none of that name or none at all.
    """
    fitting = [field.name for field in schema if _is_image_type(field.type)]
    if paths:
        fitting += [f.name for f in schema if f.name == name and pa.types.is_string(f.type)]
    if name is None and len(fitting) == 1:
        return fitting[0]
    if name is None or name not in fitting:
        raise UserError(
            Problem(
                "--images",
                f"{name or 'not given'}; columns of encoded images: "
                f"{', '.join(fitting) or 'none'}, of all: {', '.join(schema.names)}",
            )
        )
    return name


def _is_image_type(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def label_column(schema: pa.Schema, name: str | None) -> str | None:
    """The column of labels: the one named, else `label` if there is one.

    Raises:
        UserError: the one named is not there.
    """
    if name == "none" or (name is None and "label" not in schema.names):
        return None
    if name is not None and name not in schema.names:
        raise UserError(
            Problem("--labels", f"{name} is not a column; columns: {', '.join(schema.names)}")
        )
    return name or "label"


def _shuffle_keys(seed: int, first: int, stop: int) -> npt.NDArray[np.uint64]:
    return mix("shard", seed, np.arange(first, stop))
