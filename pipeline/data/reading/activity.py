"""What readers are doing just now, in words for whoever waits for them. No Ray here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from pipeline.data.order.corpus import load_corpus
from pipeline.data.order.slices import Slice
from pipeline.data.reading.slice_reader import SliceReader, stream_order


class Activity:
    """Of the readers of one worker: an ingest notes it, the training loop tells it."""

    def __init__(self) -> None:
        self.words: Callable[[], str] = lambda: "its readers start"
        """Says what is being waited for; may take seconds, so that no training thread asks."""
        self.bytes_from_other_nodes = 0
        """Of views, which crossed the network."""


class ReadingThreads:
    """The slices that threads of this process are reading."""

    def __init__(self, reader: SliceReader) -> None:
        self._reader = reader
        self._since: dict[int, tuple[float, Slice]] = {}

    @contextmanager
    def reading(self, piece: Slice) -> Iterator[None]:
        """Note a slice for the time of the body."""
        self._since[id(piece)] = (time.monotonic(), piece)
        try:
            yield
        finally:
            del self._since[id(piece)]

    def words(self) -> str:
        """What is read, and for how long the oldest slice has been."""
        reading = sorted(self._since.copy().values(), key=lambda entry: entry[0])
        if not reading:
            return "no shard is being read"
        since, piece = reading[0]
        first, *others = shards_of(self._reader, piece)
        more = f" and {len(others)} more" if others else ""
        return (
            f"reading shard {first}{more} for {time.monotonic() - since:.0f} s, in one of "
            f"{len(reading)} threads (a slow store or disk)"
        )


def shards_of(reader: SliceReader, piece: Slice) -> list[str]:
    """The shards that a slice's samples are in, as their manifests name them."""
    corpus = load_corpus(reader.manifests)
    ids = [
        stream_order(reader.plan, reader.manifests, piece.epoch, stream).ids(start, stop)
        for stream, start, stop in piece.ranges
    ]
    entries = np.unique(corpus.locate(np.concatenate(ids))[0])
    return [corpus.shard(int(entry))[2].path for entry in entries]
