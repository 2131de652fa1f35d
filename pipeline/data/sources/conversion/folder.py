"""A folder of image files, on a disk or in a store, with labels from its sub-folders or a table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

import pyarrow as pa

from pipeline.data import storage
from pipeline.data.sources.conversion.facts_of_files import FactsOfFiles
from pipeline.data.sources.conversion.grouping import grouping_of
from pipeline.data.sources.conversion.image_files import EXTENSIONS, image_files
from pipeline.data.sources.conversion.source import (
    LISTED_TOGETHER,
    Fields,
    FolderLabels,
    Told,
    listing_schema,
)
from pipeline.errors import Problem, UserError

Row = tuple[bytes | None, ...]  # the files of a sample, as many as it has parts


class FolderSource:
    """Samples are files; with parts, `KEY.left.jpg` and `KEY.right.jpg` are one."""

    keys_have_one_root = False

    def __init__(self, root: str, fields: Fields) -> None:
        """Look whether there is an image at all.

        Args:
            root: path or URI.
            fields: labels are `folder`, `none`, or a table with a column of files and one of
                labels; None: the sub-folders, if most files lie in one. Kept are columns of that
                table.

        Raises:
            UserError: there is none, or the table does not fit.
        """
        if next(image_files(root), None) is None:
            looked_for = ", ".join(sorted(EXTENSIONS))
            message = f"holds no image file, not even in a subfolder; looked for {looked_for}"
            raise UserError(Problem(root, message))
        self.root, self.fields = root, fields
        by_folders = fields.labels in (None, "none", "folder")
        self._facts = None if by_folders else FactsOfFiles(str(fields.labels), keep=fields.keep)
        if by_folders and fields.keep:
            message = "files have no columns; give a table of them by --labels"
            raise UserError(Problem("--keep", f"{', '.join(fields.keep)}: {message}"))
        self.grouping = grouping_of(fields.split_by, self._facts.columns if self._facts else ())

    @property
    def folder_labels(self) -> FolderLabels:
        """Whether the first folder below the root is the label."""
        if self.fields.labels is None:
            return "mostly"
        return "always" if self.fields.labels == "folder" else "never"

    @property
    def asked(self) -> Mapping[str, Any]:
        """What the user pointed at and how."""
        labels = self.fields.labels
        if self._facts:
            labels = storage.absolute(str(labels))
        return {"source": self.root, "labels": labels}

    def listing(self, told: Told) -> Iterator[pa.RecordBatch]:
        """See `ListedSource`."""
        passed_over: Counter[str] = Counter()
        rows = self._rows(image_files(self.root, passed_over), told)
        number = 0
        join = self._facts.joined(self.root, self.grouping) if self._facts else None
        while some := list(islice(rows, LISTED_TOGETHER)):
            batch = self._batch(number, some)
            yield join.add_to(batch) if join else batch
            number += len(some)
        if join:
            more = [(name,) for name in join.named_but_not_listed(self.root)]
            if more:
                yield join.add_to(self._batch(number, more))
            join.tell(told)
        for reason, count in sorted(passed_over.items()):
            told.leave_out(reason, f"below {self.root}", count)

    def _rows(self, names: Iterator[bytes], told: Told) -> Iterator[Row]:
        if not self.fields.parts:
            yield from ((name,) for name in names)
            return
        for key, files in groupby(names, key=_key):
            found = {_part(name): name for name in files}
            lacking = [part for part in self.fields.parts if part not in found]
            if lacking:
                told.leave_out(f"lacks {lacking[0]}", os.fsdecode(key))
            else:
                yield tuple(found[part] for part in self.fields.parts)

    def _batch(self, number: int, rows: Sequence[Row]) -> pa.RecordBatch:
        names = [row[0] or b"" for row in rows]
        keys = [as_text(_key(name) if self.fields.parts else name) for name in names]
        schema = listing_schema(
            self.fields.parts, self.fields.keep, grouped=self.grouping is not None
        )
        nothing = pa.nulls(len(rows), pa.string())
        columns: dict[str, pa.Array] = {
            field.name: pa.nulls(len(rows), field.type) for field in schema
        }
        columns["number"] = pa.array(range(number, number + len(rows)), pa.int64())
        columns["key"] = pa.array(keys, pa.string())
        for place, part in enumerate(self.fields.parts or ("",)):
            columns[f"file.{part}"] = pa.array([row[place] for row in rows], pa.binary())
        if self.grouping is not None:
            by_key = self.grouping.column is None
            columns["group"] = self.grouping.of_keys(columns["key"]) if by_key else nothing
        return pa.RecordBatch.from_pydict(columns, schema=schema)


def as_text(name: bytes) -> str:
    """A file's name as text, whatever bytes it is of."""
    return name.decode("utf-8", "backslashreplace")


def _key(name: bytes) -> bytes:
    folder, slash, base = name.rpartition(b"/")
    return folder + slash + base.partition(b".")[0]


def _part(name: bytes) -> str:
    """What lies between the key and the ending, as WebDataset names several images of a sample."""
    return as_text(name.rpartition(b"/")[2]).partition(".")[2].rpartition(".")[0]
