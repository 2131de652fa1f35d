"""What a read task does: slice of a plan in, rows of fixed-size uint8 views out. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.data.decode import BadSample, decode_image
from pipeline.data.manifest import Ids, load_manifest, manifest_path
from pipeline.data.shard_reader import ShardReader
from pipeline.data.streams import Slice, StreamOrder, StreamPlan
from pipeline.views.opencv import render_views
from pipeline.views.parameters import ImageViews

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class SliceReader:
    """Reads, decodes and renders a slice; small enough to travel with every read task."""

    manifest: str  # absolute path of the manifest's folder
    plan: StreamPlan
    views: ImageViews

    @property
    def row_shape(self) -> tuple[int, int, int, int]:
        """Shape of a row's pixels: (views, side, side, 3)."""
        return (self.views.count, self.views.size, self.views.size, 3)

    def read(self, piece: Slice) -> pa.Table:
        """Read a slice.

        Returns:
            A row for each position, streams in order: `stream` int32, `position` int64,
            `sample_id` int64, `error` string (null for a good sample), `pixels` fixed-size binary
            holding (V, S, S, 3) uint8 (zeros for a bad one).

        Raises:
            OSError: a shard cannot be read; this is never the sample's fault.
        """
        # A read task has one CPU; OpenCV's own threads would double what an image costs.
        cv2.setNumThreads(1)
        manifest = load_manifest(self.manifest)
        root = manifest_path(self.manifest).parent
        with ShardReader(manifest, root) as reader:
            ids = self._ids(piece, reader.boundaries)
            # All streams at once: a call of numpy costs as much for eight rows as for hundreds.
            errors, pixels = self._decode_and_render(reader.read(ids), ids, piece.epoch)
        return self._table(piece, ids, errors, pixels)

    def _ids(self, piece: Slice, boundaries: Ids) -> Ids:
        orders = (
            (StreamOrder(self.plan, boundaries, epoch=piece.epoch, stream=stream), start, stop)
            for stream, start, stop in piece.ranges
        )
        return np.concatenate([order.ids(start, stop) for order, start, stop in orders])

    def _decode_and_render(
        self, encoded: list[bytes], ids: Ids, epoch: int
    ) -> tuple[list[str | None], Pixels]:
        images: list[Pixels] = []
        errors: list[str | None] = []
        for data in encoded:
            try:
                images.append(decode_image(data))
                errors.append(None)
            except BadSample as error:
                errors.append(str(error))
        good = np.array([error is None for error in errors], dtype=bool)
        views = render_views(
            images, config=self.views, seed=self.plan.seed, epoch=epoch, sample_ids=ids[good]
        )
        if good.all():
            return errors, views
        pixels = np.zeros((len(ids), *self.row_shape), dtype=np.uint8)
        pixels[good] = views
        return errors, pixels

    def _table(self, piece: Slice, ids: Ids, errors: list[str | None], pixels: Pixels) -> pa.Table:
        streams = [np.full(stop - start, stream, np.int32) for stream, start, stop in piece.ranges]
        positions = [np.arange(start, stop, dtype=np.int64) for _, start, stop in piece.ranges]
        row_bytes = int(np.prod(self.row_shape))
        return pa.table(
            {
                "stream": np.concatenate(streams),
                "position": np.concatenate(positions),
                "sample_id": ids,
                "error": pa.array(errors, pa.string()),
                "pixels": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(row_bytes), len(ids), [None, pa.py_buffer(pixels)]
                ),
            }
        )


def pixels_of(table: pa.Table, row_shape: tuple[int, ...]) -> Pixels:
    """The pixels column as an array, without a copy; (n, *row_shape) uint8."""
    column = table["pixels"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    row_bytes = int(np.prod(row_shape))
    flat = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    flat = flat[column.offset * row_bytes : (column.offset + len(column)) * row_bytes]
    return flat.reshape(len(column), *row_shape)
