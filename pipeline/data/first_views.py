"""Views of the first samples of a run's order, for someone to look at."""

from __future__ import annotations

import numpy as np

from pipeline.data.decode import BadSample, decode_image
from pipeline.data.manifest import Ids
from pipeline.data.slice_reader import SliceReader, UnreadableShardError, stream_order
from pipeline.views.arrays import Pixels
from pipeline.views.opencv import render_views


def first_views(reader: SliceReader, *, count: int) -> tuple[Ids, tuple[Pixels, ...]]:
    """What read tasks make of the samples that epoch 0 begins with, taken in turn from streams.

    Unlike a read task it fetches these samples alone, not the windows that they were shuffled in.

    Args:
        reader: of the run.
        count: largest number of samples; what cannot be decoded is left out.

    Returns:
        Sample ids (n,), and the blocks of `ImageViews.split` of them.

    Raises:
        UserError: a manifest cannot be read.
        UnreadableShardError: a shard cannot be read.
    """
    ids = _first_ids(reader, count)
    try:
        with reader.open_shards() as shards:
            encoded = shards.read(ids)
    except OSError as error:
        raise UnreadableShardError(" ".join(str(error).split())) from error
    images = {}
    for row, data in enumerate(encoded):
        try:
            images[row] = decode_image(data)
        except BadSample:
            continue
    good = np.array([*images], dtype=np.int64)
    pixels = np.zeros((len(ids), reader.views.row_bytes), dtype=np.uint8)
    render_views(
        images, pixels, config=reader.views, seed=reader.plan.seed, epoch=0, sample_ids=ids
    )
    return ids[good], reader.views.split(pixels[good])


def _first_ids(reader: SliceReader, count: int) -> Ids:
    """Ids at position 0 of streams that lie evenly in the data, then at position 1, and so on."""
    plan = reader.plan
    streams = np.unique(np.linspace(0, plan.streams - 1, min(count, plan.streams)).astype(int))
    deep = min(-(-count // len(streams)), plan.per_batch)
    orders = (stream_order(plan, reader.manifests, 0, int(stream)) for stream in streams)
    return np.stack([order.ids(0, deep) for order in orders], axis=1).reshape(-1)[:count]
