"""The second stage: pixels to vectors, in an actor of Ray's that keeps its encoder."""

from __future__ import annotations

import warnings

import pyarrow as pa
import ray

from pipeline.embedding.rows import PIXELS, VECTORS, binary_of, one_binary, range_of
from pipeline.embedding.shipping import ShippedEncoder, stored, to_device


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
            The row, with `vectors` (n, D) of the dtype in place of the pixels.

        Raises:
            UserError: features do not fit the dtype.
        """
        count = len(row["sample_id"][0])
        images = binary_of(row, PIXELS, "uint8", (count, self._size, self._size, 3))
        rest = row.drop_columns([PIXELS])
        if not count:
            return rest.append_column(VECTORS, pa.array([b""], pa.large_binary()))
        vectors = stored(self._encode(images), self._dtype, file=range_of(row).file)
        return rest.append_column(VECTORS, one_binary(vectors))
