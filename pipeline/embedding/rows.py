"""What travels with a range from stage to stage: the range is a row, which Ray never splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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
    ]
)
"""Of every stage; the first adds pixels, and the second has vectors in their place."""


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
