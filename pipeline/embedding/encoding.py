"""The second stage: pixels to vectors, in an actor of Ray's that keeps its encoder."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa
import ray

from pipeline.embedding.rows import (
    PIXELS,
    VECTORS,
    Values,
    binary_of,
    is_stopped,
    range_of,
    stopped,
    with_binary,
)
from pipeline.embedding.shipping import ShippedEncoder, to_device


class RangeEncoder:
    """A worker with an encoder."""

    def __init__(self, shipped: ray.ObjectRef, *, dtype: str, gpu: bool) -> None:
        """Take delivery of an encoder.

        Args:
            shipped: a `ShippedEncoder`.
            dtype: of the vectors, as they are stored.
            gpu: whether to use the GPU that Ray gives, else one thread of the CPU.
        """
        # Of the pixels in Ray's memory, which nobody may write to, torch warns; nobody does.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        delivered: ShippedEncoder = ray.get(shipped)
        encoder = to_device(delivered.load(), gpu=gpu)
        self._size = encoder.config.preprocessing.size
        self._encode = delivered.encoding(encoder)
        self._dtype = dtype

    def __call__(self, row: pa.Table) -> pa.Table:
        """Encode a range.

        Args:
            row: of `RangeReader.read`.

        Returns:
            The row, with `vectors` (n, D) of the dtype in place of the pixels; without them a
            `mistake` if they do not fit the dtype.
        """
        count = len(row["sample_id"][0])
        rest = row.drop_columns([PIXELS])
        if is_stopped(row) or not count:
            return with_binary(rest, VECTORS)
        images = binary_of(row, PIXELS, "uint8", (count, self._size, self._size, 3))
        vectors = self._encode(images)
        with np.errstate(over="ignore"):
            narrowed = vectors.astype(self._dtype)
        if not np.isfinite(narrowed).all():
            message = _why_not(vectors, self._dtype, range_of(row).file)
            return with_binary(stopped(rest, "mistake", message), VECTORS)
        return with_binary(rest, VECTORS, narrowed)


def _why_not(vectors: Values, dtype: str, file: str) -> str:
    if not np.isfinite(vectors).all():
        return f"features of {file} are not all numbers: the encoder is broken"
    largest = np.abs(vectors).max()
    return f"{dtype}, but features of {file} reach {largest:g}; --dtype float32 holds them"
