"""What a read task does: slice of a plan in, rows of fixed-size uint8 views out. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache, partial

import cv2
import numpy as np
import pyarrow as pa

from pipeline.data import storage
from pipeline.data.config import DEFAULT_CACHE_BYTES
from pipeline.data.decode import BadSample, decode_parts
from pipeline.data.order.corpus import load_corpus
from pipeline.data.order.shuffle import StreamOrder
from pipeline.data.order.slices import Slice
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.shard_reader import Request, ShardReader
from pipeline.data.sources.manifest import Ids
from pipeline.views.arrays import Pixels
from pipeline.views.opencv import render_views
from pipeline.views.parameters import ImageViews

_DECODED_BYTES = 64 << 20  # photographs are decoded and rendered a few at a time


class UnreadableShardError(Exception):
    """A shard cannot be read: the fault of a disk or a store, never of a sample."""

    def __str__(self) -> str:
        # To what a read task raises Ray Data adds lines of its own; ours has one.
        return str(self.args[0]).partition("\n")[0]


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
            UnreadableShardError: a shard cannot be read, again and again.
        """
        # A read task has one CPU; OpenCV's own threads would double what an image costs.
        cv2.setNumThreads(1)
        keep_freed_memory()
        orders = [
            (self._order(piece.epoch, stream), start, stop) for stream, start, stop in piece.ranges
        ]
        ids = np.concatenate([order.ids(start, stop) for order, start, stop in orders])
        try:
            with self.open_shards() as shards, self._fetching(shards, piece):
                # All streams at once: a call of numpy costs as much for eight rows as for hundreds.
                encoded = storage.retrying(lambda: shards.read_parts(ids))
                errors, pixels = self._decode_and_render(encoded, ids, piece.epoch)
        except OSError as error:
            raise UnreadableShardError(" ".join(str(error).split())) from error
        return self._table(piece, ids, errors, pixels)

    def open_shards(self) -> ShardReader:
        """The shards that it reads, open."""
        return ShardReader(
            load_corpus(self.manifests), cache_bytes=self.cache_bytes, parts=self.views.images
        )

    def _order(self, epoch: int, stream: int) -> StreamOrder:
        return stream_order(self.plan, self.manifests, epoch, stream)

    @contextmanager
    def _fetching(self, shards: ShardReader, piece: Slice) -> Iterator[None]:
        """Fetch a remote slice's windows, and while the body runs its share of those to follow.

        Without that share every window would begin with a wait for all of its bytes.
        """
        if not load_corpus(self.manifests).has_remote_shards:
            yield
            return
        own = [
            request
            for stream, start, stop in piece.ranges
            for window in self._order(piece.epoch, stream).window_starts(start, stop)
            for request in _window_requests(self, piece.epoch, stream, window)
        ]
        storage.retrying(lambda: shards.fetch(own))
        due = [request for share in self._shares_ahead(piece) for request in share]
        if not due:
            yield
            return
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(storage.retrying, partial(shards.fetch, due))
            yield
            ahead.result()

    def _shares_ahead(self, piece: Slice) -> Iterator[Sequence[Request]]:
        """What is fetched for the windows that follow a slice's: the slice's share of each.

        Shares that follow one another leave no request out and make none twice.
        """
        for stream, start, stop in piece.ranges:
            for following, low, high in self._order(piece.epoch, stream).shares(start, stop):
                epoch, position = piece.epoch, following
                if following >= self.plan.steps_per_epoch * self.plan.per_batch:
                    epoch, position = epoch + 1, 0
                requests = _window_requests(self, epoch, stream, position)
                first, last = (math.ceil(len(requests) * end) for end in (low, high))
                yield requests[first:last]

    def _decode_and_render(
        self, encoded: list[tuple[bytes, ...]], ids: Ids, epoch: int
    ) -> tuple[list[str | None], Pixels]:
        errors: list[str | None] = [None] * len(ids)
        pixels = np.zeros((len(ids), self.views.row_bytes), dtype=np.uint8)
        render = partial(
            render_views, config=self.views, seed=self.plan.seed, epoch=epoch, sample_ids=ids
        )
        images: dict[int, tuple[Pixels, ...]] = {}
        held = 0
        for row, data in enumerate(encoded):
            try:
                images[row] = decode_parts(data, self.views.images)
            except BadSample as error:
                errors[row] = str(error)
                continue
            held += sum(image.nbytes for image in images[row])
            if held > _DECODED_BYTES:
                render(images, pixels)
                images, held = {}, 0
        render(images, pixels)
        return errors, pixels

    def _table(self, piece: Slice, ids: Ids, errors: list[str | None], pixels: Pixels) -> pa.Table:
        streams = [np.full(stop - start, stream, np.int32) for stream, start, stop in piece.ranges]
        positions = [np.arange(start, stop, dtype=np.int64) for _, start, stop in piece.ranges]
        return pa.table(
            {
                "stream": np.concatenate(streams),
                "position": np.concatenate(positions),
                "sample_id": ids,
                "error": pa.array(errors, pa.string()),
                "pixels": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(self.views.row_bytes), len(ids), [None, pa.py_buffer(pixels)]
                ),
            }
        )


@cache
def keep_freed_memory() -> None:
    """Have this process keep the memory that images are decoded into, and use it again.

    glibc returns large freed blocks to the system, and every page of the next one costs a fault: a
    quarter of a photograph's time. It stops doing so with blocks as large as the largest it has
    seen freed, up to 32 MiB; elsewhere this changes nothing.
    """
    np.empty(31 << 20, dtype=np.uint8)


@lru_cache(maxsize=256)
def _window_requests(
    reader: SliceReader, epoch: int, stream: int, position: int
) -> Sequence[Request]:
    """Requests that fetch the window that begins at a position; worked out once in a process."""
    runs = stream_order(reader.plan, reader.manifests, epoch, stream).pieces(position, position + 1)
    with reader.open_shards() as shards:
        return storage.retrying(lambda: shards.requests(runs))


@lru_cache(maxsize=64)
def stream_order(
    plan: StreamPlan, manifests: tuple[str, ...], epoch: int, stream: int
) -> StreamOrder:
    """A stream's order, worked out once in a process for all of the stream's slices."""
    return StreamOrder(plan, load_corpus(manifests).boundaries, epoch=epoch, stream=stream)


def pixels_of(table: pa.Table, row_bytes: int) -> Pixels:
    """The pixels column as an array, without a copy; (n, row_bytes) uint8."""
    column = table["pixels"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    flat = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    return flat.reshape(-1, row_bytes)[column.offset : column.offset + len(column)]
