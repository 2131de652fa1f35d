"""What travels with a range from stage to stage: the range is a row, which Ray never splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.data.sources.manifest import StoreAwayError
from pipeline.embedding.ranges import Range

Values = npt.NDArray[Any]

PIXELS = "pixels"
VECTORS = "vectors"

ROW = pa.schema(
    [
        ("number", pa.int64()),
        ("shard", pa.int64()),
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("sample_id", pa.list_(pa.int64())),  # of the good samples, as also key and label
        ("key", pa.list_(pa.string())),
        ("label", pa.list_(pa.string())),
        ("bad_id", pa.list_(pa.int64())),
        ("bad_error", pa.list_(pa.string())),
        ("outage", pa.string()),  # that stopped the range: of a disk or a store
        ("mistake", pa.string()),  # that stopped it: the user's
    ]
)
"""Of every stage; the first adds pixels, and the second has vectors in their place."""


OUTAGES = (OSError, StoreAwayError)
"""Errors that a row tells of. Ray Data would log an exception, and not hand over what it was."""


def new_row(part: Range, **values: Any) -> pa.Table:
    """The row of a range, with nothing in the columns that are not given."""
    given = part._asdict() | values
    columns = [
        pa.array([given.get(field.name, None if field.type == pa.string() else [])], field.type)
        for field in ROW
    ]
    return pa.table(columns, schema=ROW)


def stopped(row: pa.Table, fault: str, error: Exception | str) -> pa.Table:
    """The row, telling of an `outage` or a `mistake`; later stages let it pass."""
    text = pa.array([" ".join(str(error).split())], pa.string())
    return row.set_column(row.schema.get_field_index(fault), fault, text)


def is_stopped(row: pa.Table) -> bool:
    """Whether an earlier stage could not do its part."""
    return bool(row["outage"][0].is_valid or row["mistake"][0].is_valid)


def with_binary(row: pa.Table, column: str, values: Values | None = None) -> pa.Table:
    """The row with an array's memory, or nothing, as one more column."""
    nothing = np.zeros(0, dtype=np.uint8)
    return row.append_column(column, one_binary(nothing if values is None else values))


def range_of(row: pa.Table) -> Range:
    """The range that a row is of."""
    return Range(*(row[name][0].as_py() for name in Range._fields))


def one_binary(values: Values) -> pa.LargeBinaryArray:
    """An array's memory as the only value of a column, without a copy."""
    flat = np.ascontiguousarray(values)
    offsets = np.array([0, flat.nbytes], dtype=np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(flat)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, buffers)


def binary_of(row: pa.Table, column: str, dtype: str, shape: tuple[int, ...]) -> Values:
    """The array that `one_binary` made a column of, without a copy."""
    (value,) = row[column]
    return np.frombuffer(value.as_buffer(), dtype=dtype).reshape(shape)
