"""The first samples of a run's order and their views, for someone to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.data.decode import BadSample, decode_parts
from pipeline.data.reading.slice_reader import SliceReader, UnreadableShardError, stream_order
from pipeline.data.sources.manifest import Ids
from pipeline.views.arrays import Ints, Pixels
from pipeline.views.opencv import render_views


@dataclass(frozen=True, kw_only=True)
class FirstImages:
    """Decoded samples: those that epoch 0 begins with, or others that were asked for."""

    sample_ids: Ids  # (n,)
    parts: list[tuple[Pixels, ...]]
    """Of each sample the images that views are drawn from, whole, (H, W, 3) uint8 each."""

    @property
    def images(self) -> list[Pixels]:
        """Of each sample the first of them, or the only one."""
        return [images[0] for images in self.parts]


def first_images(reader: SliceReader, *, count: int) -> FirstImages:
    """The samples that epoch 0 begins with, taken in turn from streams.

    Unlike a read task it fetches these samples alone, not the windows that they were shuffled in.

    Args:
        reader: of the run.
        count: largest number of samples; what cannot be decoded is left out.

    Raises:
        UserError: a manifest cannot be read.
        UnreadableShardError: a shard cannot be read.
    """
    return images_of(reader, _first_ids(reader, count))


def images_of(reader: SliceReader, ids: Ids) -> FirstImages:
    """Samples (n,) int64 by their ids; what cannot be decoded is left out.

    Raises:
        UserError: a manifest cannot be read.
        UnreadableShardError: a shard cannot be read.
    """
    try:
        with reader.open_shards() as shards:
            encoded = shards.read_parts(ids)
    except OSError as error:
        raise UnreadableShardError(" ".join(str(error).split())) from error
    images = {}
    for row, data in enumerate(encoded):
        try:
            images[row] = decode_parts(data, reader.views.images)
        except BadSample:
            continue
    return FirstImages(
        sample_ids=ids[np.array([*images], dtype=np.int64)], parts=[*images.values()]
    )


def first_views(reader: SliceReader, first: FirstImages) -> tuple[Pixels, ...]:
    """What read tasks make of samples in epoch 0: the blocks of `ImageViews.split`."""
    count = len(first.parts)
    pixels = np.zeros((count, reader.views.row_bytes), dtype=np.uint8)
    render_views(
        dict(enumerate(first.parts)),
        pixels,
        config=reader.views,
        seed=reader.plan.seed,
        epoch=0,
        sample_ids=first.sample_ids,
    )
    return reader.views.split(pixels)


def first_batch(reader: SliceReader) -> Ids:
    """Ids (G,) of the global batch of step 0, if all can be decoded; `first_images` are of it."""
    return _stream_starts(reader, range(reader.plan.streams), reader.plan.per_batch).reshape(-1)


def _first_ids(reader: SliceReader, count: int) -> Ids:
    """Ids at position 0 of streams that lie evenly in the data, then at position 1, and so on."""
    plan = reader.plan
    streams = np.unique(np.linspace(0, plan.streams - 1, min(count, plan.streams)).astype(int))
    deep = min(-(-count // len(streams)), plan.per_batch)
    return _stream_starts(reader, streams, deep).T.reshape(-1)[:count]


def _stream_starts(reader: SliceReader, streams: Ints | range, deep: int) -> Ids:
    """The first ids (streams, deep) of each stream."""
    orders = (stream_order(reader.plan, reader.manifests, 0, int(stream)) for stream in streams)
    return np.stack([order.ids(0, deep) for order in orders])
