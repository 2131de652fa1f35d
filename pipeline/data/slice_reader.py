"""What a read task does: slice of a plan in, rows of fixed-size uint8 views out. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa

from pipeline.data.decode import BadSample, decode_image
from pipeline.data.manifest import Ids, load_manifest, manifest_path
from pipeline.data.shard_reader import ShardReader
from pipeline.data.streams import Slice, StreamOrder, StreamPlan
from pipeline.views.opencv import render_views
from pipeline.views.parameters import ImageViews, Pixels


@dataclass(frozen=True, kw_only=True)
class SliceReader:
    """Reads, decodes and renders a slice; small enough to travel with every read task."""

    manifest: str  # absolute path of the manifest's folder
    plan: StreamPlan
    views: ImageViews

    def read(self, piece: Slice) -> pa.Table:
        """Read a slice.

        Returns:
            A row for each position, streams in order: `stream` int32, `position` int64,
            `sample_id` int64, `error` string (null for a good sample), `pixels` fixed-size binary
            holding the uint8 blocks of `ImageViews.shapes` (zeros for a bad one).

        Raises:
            OSError: a shard cannot be read; this is never the sample's fault.
        """
        # A read task has one CPU; OpenCV's own threads would double what an image costs.
        cv2.setNumThreads(1)
        manifest = load_manifest(self.manifest)
        root = manifest_path(self.manifest).parent
        tables = []
        with ShardReader(manifest, root) as reader:
            for stream, start, stop in piece.ranges:
                order = StreamOrder(self.plan, reader.boundaries, epoch=piece.epoch, stream=stream)
                ids = order.ids(start, stop)
                errors, pixels = self._decode_and_render(reader.read(ids), ids, piece.epoch)
                tables.append(self._table(stream, start, ids, errors, pixels))
        return pa.concat_tables(tables)

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
        pixels = np.zeros((len(ids), self.views.row_bytes), dtype=np.uint8)
        pixels[good] = render_views(
            images, config=self.views, seed=self.plan.seed, epoch=epoch, sample_ids=ids[good]
        )
        return errors, pixels

    def _table(
        self, stream: int, start: int, ids: Ids, errors: list[str | None], pixels: Pixels
    ) -> pa.Table:
        return pa.table(
            {
                "stream": np.full(len(ids), stream, dtype=np.int32),
                "position": np.arange(start, start + len(ids), dtype=np.int64),
                "sample_id": ids,
                "error": pa.array(errors, pa.string()),
                "pixels": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(self.views.row_bytes), len(ids), [None, pa.py_buffer(pixels)]
                ),
            }
        )


def pixels_of(table: pa.Table, views: ImageViews) -> tuple[Pixels, ...]:
    """The blocks of the pixels column, without a copy: (n, V, S, S, 3) and so on, uint8."""
    column = table["pixels"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    flat = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    rows = flat.reshape(-1, views.row_bytes)[column.offset : column.offset + len(column)]
    return views.split(rows)
