"""The first stage: a range's bytes to pixels, in a read task of Ray's. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa

from pipeline.data import storage
from pipeline.data.config import DEFAULT_CACHE_BYTES
from pipeline.data.decode import BadSample, decode_image
from pipeline.data.order.corpus import Corpus, load_corpus
from pipeline.data.reading.shard_reader import ShardReader
from pipeline.data.reading.slice_reader import keep_freed_memory
from pipeline.data.sources.index import load_index
from pipeline.data.sources.manifest import StoreAwayError
from pipeline.embedding.ranges import Range
from pipeline.embedding.rows import PIXELS, new_row, stopped, with_binary
from pipeline.views.opencv import render_probe_view


@dataclass(frozen=True, kw_only=True)
class RangeReader:
    """Reads ranges; small enough to travel with every read task."""

    shards: str  # absolute location of the manifest's folder
    size: int  # side of the images that the encoder is given, in pixels
    cache_bytes: int = DEFAULT_CACHE_BYTES  # of a node, for copies of remote shards

    def read(self, ranges: Sequence[Range]) -> Iterator[pa.Table]:
        """Read ranges; the bytes of the next one are fetched while one is decoded.

        Yields:
            A row for each range: that of `ROW`, and `pixels`, the (n, S, S, 3) uint8 of its good
            samples: the largest centred square of an image, resized.

            If a shard or an index cannot be read, again and again, its `outage`, and no more rows.
        """
        cv2.setNumThreads(1)  # a read task has one CPU
        keep_freed_memory()
        try:
            yield from self._rows(load_corpus((self.shards,)), ranges)
        except StoreAwayError as error:
            yield with_binary(stopped(new_row(ranges[0]), "outage", error), PIXELS)

    def _rows(self, corpus: Corpus, ranges: Sequence[Range]) -> Iterator[pa.Table]:
        with (
            ShardReader(corpus, cache_bytes=self.cache_bytes) as shards,
            ThreadPoolExecutor(1) as fetcher,
        ):
            fetched = fetcher.submit(_fetch, corpus, shards, ranges[0])
            for part, following in zip(ranges, [*ranges[1:], None], strict=True):
                try:
                    encoded, keys_and_labels = fetched.result()
                except OSError as error:
                    yield with_binary(stopped(new_row(part), "outage", error), PIXELS)
                    return
                if following is not None:
                    fetched = fetcher.submit(_fetch, corpus, shards, following)
                yield self._row(corpus, part, encoded, keys_and_labels)

    def _row(
        self, corpus: Corpus, part: Range, encoded: list[bytes], keys_and_labels: pa.Table
    ) -> pa.Table:
        pixels = np.empty((len(encoded), self.size, self.size, 3), dtype=np.uint8)
        good: list[int] = []
        errors: dict[int, str] = {}
        for row, data in enumerate(encoded):
            try:
                image = decode_image(data)
            except BadSample as error:
                errors[row] = str(error)
                continue
            pixels[len(good)] = render_probe_view(image, self.size)
            good.append(row)
        ids = int(corpus.boundaries[part.shard]) + np.arange(part.start, part.stop)
        kept = keys_and_labels.take(good)
        row = new_row(
            part,
            sample_id=ids[good],
            key=kept["key"].to_pylist(),
            label=kept["label"].to_pylist(),
            bad_id=ids[list(errors)],
            bad_error=list(errors.values()),
        )
        return with_binary(row, PIXELS, pixels[: len(good)])


def _fetch(corpus: Corpus, shards: ShardReader, part: Range) -> tuple[list[bytes], pa.Table]:
    first = int(corpus.boundaries[part.shard])
    ids = np.arange(first + part.start, first + part.stop)
    _, root, shard = corpus.shard(part.shard)
    index = storage.retrying(lambda: load_index(storage.join(root, shard.index_path)))
    encoded = storage.retrying(lambda: shards.read(ids))
    return encoded, index.keys_and_labels(part.start, part.stop)
