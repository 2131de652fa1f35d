"""What a read task does: slice of a plan in, rows of fixed-size uint8 views out. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import pyarrow as pa

from pipeline.data.corpus import load_corpus
from pipeline.data.decode import BadSample, decode_image
from pipeline.data.manifest import Ids
from pipeline.data.shard_reader import DEFAULT_CACHE_BYTES, ShardReader
from pipeline.data.streams import Slice, StreamOrder, StreamPlan
from pipeline.views.opencv import render_views
from pipeline.views.parameters import ImageViews, Pixels


@dataclass(frozen=True, kw_only=True)
class SliceReader:
    """Reads, decodes and renders a slice; small enough to travel with every read task."""

    manifests: tuple[str, ...]  # absolute locations of the manifests' folders
    plan: StreamPlan
    views: ImageViews
    cache_bytes: int = DEFAULT_CACHE_BYTES  # of a node, for copies of remote shards

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
        tables = []
        with self.open_shards() as shards:
            for stream, start, stop in piece.ranges:
                order = stream_order(self.plan, self.manifests, piece.epoch, stream)
                ids = order.ids(start, stop)
                encoded = shards.read(ids, near=order.pieces(start, stop))
                errors, pixels = self._decode_and_render(encoded, ids, piece.epoch)
                tables.append(self._table(stream, start, ids, errors, pixels))
        return pa.concat_tables(tables)

    def open_shards(self) -> ShardReader:
        """The shards that it reads, open."""
        return ShardReader(load_corpus(self.manifests), cache_bytes=self.cache_bytes)

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


@lru_cache(maxsize=64)
def stream_order(
    plan: StreamPlan, manifests: tuple[str, ...], epoch: int, stream: int
) -> StreamOrder:
    """A stream's order, worked out once in a process for all of the stream's slices."""
    return StreamOrder(plan, load_corpus(manifests).boundaries, epoch=epoch, stream=stream)


def pixels_of(table: pa.Table, views: ImageViews) -> tuple[Pixels, ...]:
    """The blocks of the pixels column, without a copy: (n, V, S, S, 3) and so on, uint8."""
    column = table["pixels"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    flat = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    rows = flat.reshape(-1, views.row_bytes)[column.offset : column.offset + len(column)]
    return views.split(rows)
