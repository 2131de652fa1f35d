"""Samples of two images in shards, and the same images as sets of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.data.decode import encode_png
from pipeline.data.sources.manifest import Format, Manifest, Shards
from pipeline.data.sources.shard_writer import ShardLayout, ShardSample, write_shard

COUNT = 90
_RNG = np.random.default_rng(5)
LEFTS = [encode_png(i) for i in _RNG.integers(0, 256, (COUNT, 9, 11, 3), dtype=np.uint8)]
RIGHTS = [encode_png(i) for i in _RNG.integers(0, 256, (COUNT, 7, 13, 3), dtype=np.uint8)]


def write_set(
    folder: Path,
    *images: Sequence[bytes],
    parts: tuple[str, ...] = (),
    kind: Format = "tar",
    per_shard: int = 25,
) -> Path:
    """Shards with a manifest of samples in order; of each an image from every sequence.

    Labels are the parity of a sample's place.
    """
    folder.mkdir(parents=True)
    classes = ("even", "odd")
    layout = ShardLayout(kind=kind, parts=parts, classes=classes)
    samples = [
        ShardSample(number=number, key=f"k{number}", images=pair, label=classes[number % 2])
        for number, pair in enumerate(zip(*images, strict=True))
    ]
    shards = [
        write_shard(samples[first : first + per_shard], str(folder), number, first, layout)
        for number, first in enumerate(range(0, len(samples), per_shard))
    ]
    manifest = Manifest(shards=Shards.of(shards), shuffled=True, classes=classes, parts=parts)
    manifest.save(folder)
    return folder


def write_pairs(folder: Path, kind: Format = "tar", rights: Sequence[bytes] = RIGHTS) -> Path:
    """The pairs, `left` first."""
    return write_set(folder, LEFTS, rights, parts=("left", "right"), kind=kind)
