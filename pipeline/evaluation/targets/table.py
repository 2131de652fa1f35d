"""A table of targets, read once from end to end, of which only lines of known samples are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.sources.index import load_index
from pipeline.data.sources.manifest import load_manifest, manifest_root
from pipeline.errors import Problem, UserError

Ids = npt.NDArray[np.int64]

KEY, SAMPLE_ID = "key", "sample_id"

_MOST_SAMPLES = 1_000_000
_LINES_TOGETHER = 1 << 18
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class TableColumns:
    """Which columns of a table name a sample, and hold its target."""

    location: str
    by: str
    target: str


@dataclass
class Matches:
    """Lines that name a sample of a set; a line of the table may name one of each set."""

    ids: list[Ids] = field(default_factory=list)
    values: list[pa.Array] = field(default_factory=list)

    def all_ids(self) -> Ids:
        """(n,) int64, in the order of the lines."""
        return np.concatenate([*self.ids, np.zeros(0, dtype=np.int64)])

    def all_values(self) -> list[Any]:
        """Plain values, in the order of the lines."""
        return [value for part in self.values for value in part.to_pylist()]


@dataclass(frozen=True)
class MatchedTable:
    """What a table says of samples."""

    matches: dict[str, Matches]  # by set
    lines_without_sample: int
    lines_of_both: int
    """That name a sample of each of two sets."""

    example: str
    """How the first line names its sample."""

    sample_names: dict[str, str]
    """How the first sample of a set is named."""


def table_columns(location: str, target: str | None) -> TableColumns:
    """Choose the columns of a table.

    Args:
        location: of a `.csv` or `.parquet`, a path or a URI.
        target: the column of targets; None: the only one beside `key` and `sample_id`.

    Raises:
        UserError: the table cannot be read, or has no such columns.
    """
    names = _reading(location, lambda: list(_schema(location)))
    twice = sorted({name for name in names if names.count(name) > 1})
    problems = [Problem(location, f"has several columns {name}") for name in twice]
    by = next((name for name in (KEY, SAMPLE_ID) if name in names), None)
    listed = f"columns: {', '.join(names)}"
    if by is None:
        problems.append(Problem(location, f"has no column {KEY} or {SAMPLE_ID}; {listed}"))
    others = [name for name in names if name not in (KEY, SAMPLE_ID)]
    if target is None and len(others) != 1:
        problems.append(Problem("--target", f"names the column of {location}; {listed}"))
    if target is not None and target not in names:
        problems.append(Problem("--target", f"{target} is not a column of {location}; {listed}"))
    if problems or by is None:
        raise UserError(problems)
    return TableColumns(location, by, target or others[0])


def match(columns: TableColumns, folders: Mapping[str, str]) -> MatchedTable:
    """Find the lines of samples, of at most the first million of each set.

    Args:
        columns: of the table.
        folders: shards by the name of the set.

    Raises:
        UserError: the table cannot be read, or names samples in a way that is not clear.
    """
    known = {name: _Known(folder, columns.by) for name, folder in folders.items()}
    return _reading(columns.location, lambda: _match(columns, known))


def _match(columns: TableColumns, known: Mapping[str, _Known]) -> MatchedTable:
    matches = {name: Matches() for name in known}
    unknown, both, example = 0, 0, ""
    for names, values in _lines(columns):
        example = example or (str(names[0].as_py()) if len(names) else "")
        named = np.zeros(len(names), dtype=np.int64)
        for name, samples in known.items():
            ids = samples.ids_of(names)
            hit = np.flatnonzero(ids >= 0)
            matches[name].ids.append(ids[hit])
            matches[name].values.append(values.take(pa.array(hit)))
            named[hit] += 1
        unknown += int((named == 0).sum())
        both += int((named > 1).sum())
    first = {name: samples.first for name, samples in known.items()}
    return MatchedTable(matches, unknown, both, example, first)


class _Known:
    """The samples of a set by what names them."""

    def __init__(self, folder: str, by: str) -> None:
        manifest = load_manifest(folder)
        self._count = min(manifest.samples, _MOST_SAMPLES)
        self._keys = _keys(folder, self._count) if by == KEY else None

    @property
    def first(self) -> str:
        """How the first sample is named."""
        return "0" if self._keys is None else str(self._keys[0].as_py())

    def ids_of(self, names: pa.Array) -> Ids:
        """Ids (n,) int64 of what lines name, -1 where there is none."""
        if self._keys is not None:
            found = pc.index_in(names.cast(pa.string()), value_set=self._keys, skip_nulls=True)
            return np.asarray(found.fill_null(-1), dtype=np.int64)
        ids = np.asarray(names.cast(pa.int64()).fill_null(-1), dtype=np.int64)
        return np.where(ids < self._count, ids, -1)


def _keys(folder: str, count: int) -> pa.Array:
    root = manifest_root(folder)
    parts = []
    for shard in load_manifest(folder).shards:
        if shard.first_id >= count:
            break
        parts.append(load_index(storage.join(root, shard.index_path)).keys())
    keys = pa.concat_arrays(parts)[:count]
    counts = pc.value_counts(keys)
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(several):
        raise UserError(
            Problem(
                folder,
                f"{len(several)} keys name several samples, {several[0].as_py()!r} for one; give "
                f"a table by {SAMPLE_ID}",
            )
        )
    return keys


def _schema(location: str) -> Sequence[str]:
    store, path = storage.resolve(location)
    if _is_parquet(location):
        with store.open_input_file(path) as file:
            return list(pq.read_schema(file).names)
    with store.open_input_stream(path) as file, pa_csv.open_csv(file, **_csv_options()) as reader:
        return list(reader.schema.names)


def _lines(columns: TableColumns) -> Iterator[tuple[pa.Array, pa.Array]]:
    """What names samples and their targets, some 100,000 lines at once."""
    store, path = storage.resolve(columns.location)
    wanted = [columns.by, columns.target]
    if _is_parquet(columns.location):
        with store.open_input_file(path) as file:
            for batch in pq.ParquetFile(file).iter_batches(_LINES_TOGETHER, columns=wanted):
                yield batch[columns.by], batch[columns.target]
        return
    # As text: the type of a column that is guessed from its first lines may not be that of others.
    options = pa_csv.ConvertOptions(
        include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())
    )
    with (
        store.open_input_stream(path) as file,
        pa_csv.open_csv(file, convert_options=options, **_csv_options()) as reader,
    ):
        for batch in reader:
            yield batch[columns.by], batch[columns.target]


def _csv_options() -> dict[str, Any]:
    return {
        "read_options": pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
        "parse_options": pa_csv.ParseOptions(newlines_in_values=True),
    }


def _is_parquet(location: str) -> bool:
    return storage.file_name(location).lower().endswith(".parquet")


def _reading(location: str, read: Any) -> Any:
    if not storage.file_name(location).lower().endswith((".csv", ".parquet")):
        raise UserError(Problem(location, "is neither a .csv nor a .parquet file"))
    try:
        return read()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(Problem(location, "there is no such file")) from error
    except (OSError, ValueError, ImportError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise UserError(Problem(location, f"cannot be read: {reason}")) from error
