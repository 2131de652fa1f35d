"""Pairs that are given, not drawn: pictures, and augmentations of them made once, elsewhere."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.decode import encode_png
from pipeline.data.sources.manifest import Manifest, Shards
from pipeline.data.sources.shard_writer import ShardLayout, ShardSample, write_shard

PARTS = ("left", "right")

Images = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


def rights_of(lefts: Images, *, seed: int) -> Images:
    """Of each picture (n, S, S, 3) another crop in other colours, mirrored or not."""
    rng = np.random.default_rng(seed)
    side = lefts.shape[1]
    made = np.empty_like(lefts)
    for number, image in enumerate(lefts):
        kept = int(rng.integers(side * 2 // 3, side + 1))
        top, left = rng.integers(0, side - kept + 1, 2)
        crop = image[top : top + kept, left : left + kept]
        resized = cv2.resize(crop, (side, side), interpolation=cv2.INTER_LINEAR)
        coloured = resized * rng.uniform(0.6, 1.4, 3) + rng.uniform(-20, 20)
        made[number] = np.clip(np.rint(coloured), 0, 255)
        if rng.random() < 0.5:
            made[number] = made[number][:, ::-1]
    return made


def swapped(rights: Images, *, share: float, seed: int) -> tuple[Images, Bools]:
    """The rights with a share of them handed on, each to the next one's left; and whose, (n,)."""
    rng = np.random.default_rng([seed, 1])
    chosen = rng.permutation(len(rights))[: round(share * len(rights))]
    mixed, planted = rights.copy(), np.zeros(len(rights), dtype=np.bool_)
    mixed[chosen] = rights[np.roll(chosen, 1)]
    planted[chosen] = True
    return mixed, planted


def write_pairs(lefts: Images, rights: Images, folder: Path) -> None:
    """One tar shard of pairs with its manifest; a pair's id is its place."""
    folder.mkdir()
    layout = ShardLayout(kind="tar", parts=PARTS)
    samples = [
        ShardSample(number=number, key=str(number), images=tuple(map(encode_png, pair)))
        for number, pair in enumerate(zip(lefts, rights, strict=True))
    ]
    shard = write_shard(samples, str(folder), 0, 0, layout)
    Manifest(shards=Shards.of([shard]), shuffled=True, parts=PARTS).save(folder)
