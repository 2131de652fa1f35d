"""A list of images that lie anywhere: csv, JSON lines or Parquet with a column of paths or URIs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data import storage
from pipeline.data.sources.conversion.facts_of_files import FILE_COLUMNS, file_column, no_column
from pipeline.data.sources.conversion.grouping import grouping_of
from pipeline.data.sources.conversion.lines import Lines
from pipeline.data.sources.conversion.source import (
    Fields,
    FolderLabels,
    Told,
    listing_schema,
)
from pipeline.data.sources.index import KEPT
from pipeline.errors import Problem, UserError


class ListOfPaths:
    """Each line is a sample; relative paths begin at the list's folder."""

    keys_have_one_root = False
    folder_labels: FolderLabels = "never"

    def __init__(self, location: str, fields: Fields) -> None:
        """Look at the list's columns.

        Args:
            location: path or URI of the list.
            fields: images are the column of paths; None: one of `FILE_COLUMNS`. Labels are a
                column, or `none`; None: `label`, if it is there.

        Raises:
            UserError: it cannot be read, or has no such columns.
        """
        self._lines = Lines(location)
        self.root, self.fields = storage.parent(location), fields
        columns, keep = self._lines.columns, fields.keep
        self._files = fields.parts or (self._file_column(fields.image),)
        self._label = self._label_column(fields.labels)
        self.grouping = grouping_of(fields.split_by, columns)
        problems = [
            no_column(setting, missing, columns)
            for setting, names in (("--images", self._files), ("--keep", keep))
            if (missing := [name for name in names if name not in columns])
        ]
        if self._label is not None and self._label not in columns:
            problems.append(no_column("--labels", [self._label], columns))
        if problems:
            raise UserError(problems)
        self.asked: Mapping[str, Any] = {
            "source": location,
            "files": list(self._files),
            "label": self._label,
        }

    def _file_column(self, images: str | None) -> str:
        name = images or file_column(self._lines.columns)
        if name is None:
            has = ", ".join(self._lines.columns)
            message = f"name the column of paths; none is called {', '.join(FILE_COLUMNS)}: {has}"
            raise UserError(Problem("--images", message))
        return name

    def _label_column(self, labels: str | None) -> str | None:
        if labels == "none":
            return None
        return labels or ("label" if "label" in self._lines.columns else None)

    def listing(self, told: Told) -> Iterator[pa.RecordBatch]:
        """See `ListedSource`."""
        schema = listing_schema(
            self.fields.parts, self.fields.keep, grouped=self.grouping is not None
        )
        named = {KEPT + name: name for name in self.fields.keep}
        if self._label is not None:
            named["label"] = self._label
        group = self.grouping.column if self.grouping else None
        if group is not None:
            named["group"] = group
        files = dict(
            zip((f"file.{part}" for part in self.fields.parts or ("",)), self._files, strict=True)
        )
        number = 0
        for lines in self._lines.batches([*files.values(), *named.values()]):
            batch = self._without_empty(lines, told)
            self._lines.refuse_no_names(batch, [*files.values(), *set(named.values())])
            columns = {f.name: pa.nulls(len(batch), f.type) for f in schema}
            columns["number"] = pa.array(range(number, number + len(batch)), pa.int64())
            columns |= {name: batch[column] for name, column in named.items()}
            columns |= {name: batch[column].cast(pa.binary()) for name, column in files.items()}
            columns["key"] = batch[self._files[0]]
            if self.grouping is not None and group is None:
                columns["group"] = self.grouping.of_keys(columns["key"])
            yield pa.RecordBatch.from_pydict(columns, schema=schema)
            number += len(batch)
        if self._lines.passed_over:
            example = storage.file_name(self._lines.location)
            told.leave_out("line cannot be read", example, self._lines.passed_over)

    def _without_empty(self, lines: pa.RecordBatch, told: Told) -> pa.RecordBatch:
        for name in self._files:
            present = pc.is_valid(lines[name])
            empty = lines[name].null_count
            told.leave_out(f"line without {name}", self._lines.location, empty)
            lines = lines.filter(present)
        return lines
