"""How many shards, reading CPUs and bytes of cache images of a number and a size want."""

from __future__ import annotations

import math
from dataclasses import dataclass

_SHARD_BYTES = (256 << 20, 1 << 30)  # many requests of 16 MiB; written again in seconds if lost
_MOST_SHARDS = 10_000  # wished; larger shards are made rather than more
_SHARDS_A_STREAM = 4  # at least, so that most belong to one stream, and several CPUs write them
_WINDOWS = 2  # of a stream that lie in the cache: the one that is read, and the one that follows


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """What is to be laid out."""

    samples: int
    sample_bytes: float  # of an encoded image, on average
    images_per_cpu_second: float  # that one CPU reads, crops and recolours

    @property
    def bytes(self) -> int:
        """Of all images."""
        return math.ceil(self.samples * self.sample_bytes)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What fits them."""

    shards: int
    samples_per_shard: int
    ingest_cpus: int
    cache_bytes: int
    """Of a node, if the shards are in a store: with less, bytes are fetched more than once."""


def layout(
    images: ImageSet, *, images_per_second: float, streams: int, shuffle_window: int
) -> Layout:
    """Lay images out.

    Shards have some 256 MB; up to 1 GB where there would be more than 10,000 of them, less where
    each stream would have fewer than four. Each stream of a node has two windows in its cache, the
    one that is read and the one that is fetched meanwhile, or the node has all images there.

    Args:
        images: what is to be laid out.
        images_per_second: that training takes, of all nodes.
        streams: that one node serves.
        shuffle_window: samples shuffled together.
    """
    least, most = _SHARD_BYTES
    shard_bytes = min(max(images.bytes / _MOST_SHARDS, least), most)
    by_streams = images.samples / (_SHARDS_A_STREAM * streams)
    per_shard = _two_digits(max(1, min(shard_bytes / images.sample_bytes, by_streams)))
    windows = _WINDOWS * shuffle_window * streams * images.sample_bytes
    return Layout(
        shards=math.ceil(images.samples / per_shard),
        samples_per_shard=per_shard,
        ingest_cpus=math.ceil(images_per_second / images.images_per_cpu_second),
        cache_bytes=math.ceil(min(windows, images.bytes)),
    )


def _two_digits(number: float) -> int:
    """A number rounded down to two digits that are not zero."""
    unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.floor(number / unit) * unit
