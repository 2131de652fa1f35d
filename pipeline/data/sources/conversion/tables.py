"""Parquet files with a column of encoded images, or several columns of a sample's images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.sources.conversion.facts_of_files import file_column, no_column
from pipeline.data.sources.conversion.grouping import Grouping, grouping_of
from pipeline.data.sources.conversion.source import Fields, FolderLabels, Gathered, Told
from pipeline.data.sources.parquet import image_column, images_in, label_column
from pipeline.errors import Problem, UserError

_UNIT_BYTES = 256 << 20
_ROWS_TOGETHER = 64


class ParquetSource:
    """Tables of one schema; a cell of an image is binary, or a struct with a field `bytes`."""

    keys_have_one_root = False
    folder_labels: FolderLabels = "never"

    def __init__(self, files: Sequence[str], fields: Fields) -> None:
        """Look at the first file's columns.

        Args:
            files: paths or URIs, in the order of their rows' numbers.
            fields: images are a column; None: the only one that fits. Labels are a column, or
                `none`; None: `label`, if it is there.

        Raises:
            UserError: it is no Parquet file, or has no such columns.
        """
        schema = _schema(files[0])
        images = fields.parts or (fields.image,)
        self._columns = Columns(
            images=tuple(image_column(schema, name, paths=False) for name in images),
            label=label_column(schema, fields.labels),
            grouping=grouping_of(fields.split_by, schema.names),
            keep=fields.keep,
        )
        missing = [name for name in fields.keep if name not in schema.names]
        if missing:
            raise UserError(no_column("--keep", missing, schema.names))
        self._files, self.fields = files, fields
        self.asked: Mapping[str, Any] = {
            "source": [*files[:1], len(files)],
            "images": list(self._columns.images),
            "label": self._columns.label,
        }

    @property
    def grouping(self) -> Grouping | None:
        """How a sample's group is told."""
        return self._columns.grouping

    def units(self) -> list[TableUnit]:
        """Row groups of some 256 MB together; no row group is taken apart.

        Raises:
            UserError: a file is no Parquet file, or has not the first one's columns.
        """
        found = []
        first = 0
        needed = set(self._columns.all)
        for location in self._files:
            metadata = _metadata(location)
            missing = needed - set(metadata.schema.to_arrow_schema().names)
            if missing:
                message = f"has no column {', '.join(sorted(missing))}, unlike {self._files[0]}"
                raise UserError(Problem(location, message))
            for groups, rows in _in_units(metadata):
                found.append(TableUnit(location, groups, first, self._columns))
                first += rows
        return found


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns are what."""

    images: tuple[str, ...]
    label: str | None
    grouping: Grouping | None
    keep: tuple[str, ...]

    @property
    def group(self) -> str | None:
        """The column of groups, if it is a column that tells them."""
        return self.grouping.column if self.grouping else None

    @property
    def all(self) -> list[str]:
        """Every column that is read."""
        names = [*self.images, self.label, self.group, *self.keep]
        return list(dict.fromkeys(name for name in names if name is not None))


@dataclass(frozen=True)
class TableUnit:
    """Some row groups of a file."""

    location: str
    groups: tuple[int, ...]
    first: int
    columns: Columns

    def samples(self, told: Told) -> Iterator[Gathered]:
        """See `Unit`."""
        try:
            yield from self._samples()
        except (pa.ArrowException, OSError) as error:
            remote = storage.is_remote(self.location)
            if isinstance(error, OSError) and (remote or error.errno is not None):
                raise  # the disk's or the network's, not the decoder's
            reason = " ".join(str(error).split())
            raise UserError(Problem(self.location, f"is damaged: {reason}")) from error

    def _samples(self) -> Iterator[Gathered]:
        store, path = storage.resolve(self.location)
        number = self.first
        named = self.columns
        with pq.ParquetFile(path, filesystem=store) as file:
            for batch in file.iter_batches(
                _ROWS_TOGETHER, row_groups=list(self.groups), columns=named.all
            ):
                images = [_bytes_of(batch.column(name)) for name in named.images]
                others = [name for name in named.all if name not in named.images]
                texts = {name: _text_of(batch, name) for name in others}
                for row in range(len(batch)):
                    yield Gathered(
                        f"{number:012d}",
                        tuple(column[row].as_py() or b"" for column in images),
                        texts[named.label][row] if named.label else None,
                        texts[named.group][row] if named.group else None,
                        tuple(texts[name][row] for name in named.keep),
                    )
                    number += 1


def _bytes_of(column: pa.Array) -> pa.Array:
    return column.field("bytes") if pa.types.is_struct(column.type) else column


def _text_of(batch: pa.RecordBatch, name: str) -> list[str | None]:
    column = batch.column(name)
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        return [None if value is None else str(value) for value in column.to_pylist()]
    text: list[str | None] = column.cast(pa.string()).to_pylist()
    return text


def _in_units(metadata: pq.FileMetaData) -> Iterator[tuple[tuple[int, ...], int]]:
    groups: list[int] = []
    rows = size = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        groups.append(number)
        rows += group.num_rows
        size += group.total_byte_size
        if size >= _UNIT_BYTES:
            yield tuple(groups), rows
            groups, rows, size = [], 0, 0
    if groups:
        yield tuple(groups), rows


def _schema(location: str) -> pa.Schema:
    return _metadata(location).schema.to_arrow_schema()


def _metadata(location: str) -> pq.FileMetaData:
    store, path = storage.resolve(location)
    try:
        return pq.read_metadata(path, filesystem=store)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(Problem(location, f"is not a Parquet file: {error}")) from error


def lists_paths(location: str, images: Sequence[str]) -> bool:
    """Whether a table's images are paths: columns of text that are named, or the only choice."""
    schema = _schema(location)
    if images:
        texts = {field.name for field in schema if pa.types.is_string(field.type)}
        return texts.issuperset(images)
    return not images_in(schema) and file_column(schema.names) is not None
