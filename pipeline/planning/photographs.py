"""Whether a recipe's photographs are so large that `jobs shard --max-side` would pay."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.decode import BadSample, decode_image, image_size
from pipeline.data.order.corpus import load_corpus
from pipeline.data.sources.index import load_index
from pipeline.data.sources.manifest import Manifest, Shard
from pipeline.data.sources.shrinking import shrunk
from pipeline.recipe import Recipe
from pipeline.views.opencv import crop_and_resize
from pipeline.views.parameters import ImageViews, draw_crops

_CLEARLY = 2.5  # times the side that is enough
_WORTH = 2.0  # times as fast, or nothing is said
_ASPECT = 3 / 4  # of a camera's photograph
_STEP = 64  # pixels; nobody means 579

_LOOKED_AT = 32
_SHARDS = 4  # that are looked into where samples were not shuffled
_TIMED = 3
_HEAD_BYTES = 64 << 10
_TABLE_BYTES = 32 << 20  # of a Parquet shard
_TOGETHER = 8  # requests


class _Sample(NamedTuple):
    head: bytes
    """The first bytes of an image."""
    whole: Callable[[], bytes]


def enough_side(views: ImageViews) -> int:
    """Pixels of a photograph's longer side with which no crop has fewer than its view.

    The smallest crop has the share `crop_scale[0]` of the area; of a photograph of 4:3 its side is
    the longer one times sqrt(3 / 4 * share). Local views are asked for alike. Rounded up to a
    multiple of 64.
    """
    blocks = [(views.size, views.crop_scale)]
    if views.local:
        blocks.append((views.local.size, views.local.crop_scale))
    needed = max(size / math.sqrt(_ASPECT * low) for size, (low, _) in blocks)
    return math.ceil(needed / _STEP) * _STEP


def warnings(recipe: Recipe) -> Iterator[str]:
    """Sets whose photographs are far larger than views can show, and what reducing them is worth.

    Some 32 headers are read of each set, and three photographs where these are large. A store that
    fails, and images whose size their first 64 KiB do not tell, are passed over.
    """
    corpus = load_corpus(recipe.data.manifests)
    enough = enough_side(recipe.views)
    for number, manifest in enumerate(corpus.manifests):
        try:
            found = _large(manifest, corpus.root(number), above=_CLEARLY * enough)
            if found is None:
                continue
            faster = _times_as_fast(found.some, recipe.views, max_side=enough)
        except (OSError, pa.ArrowInvalid):
            continue
        if faster >= _WORTH:
            where = f"data.shards[{number}]" if len(corpus.manifests) > 1 else "data.shards"
            yield (
                f"{where}: photographs have {found.side:,} px on the longer side on average, views "
                f"{recipe.views.size}; `python -m jobs shard SRC DEST --max-side {enough}` would "
                f"make decoding and cropping {faster:.0f} times as fast (timed on "
                f"{len(found.some)} of them), and no crop of 4:3 would have fewer pixels than its "
                "view"
            )


class _Large(NamedTuple):
    side: int
    """The longer one, the mean of those that were looked at."""
    some: list[bytes]
    """A few of them."""


def _large(manifest: Manifest, root: str, *, above: float) -> _Large | None:
    """Photographs, if their longer sides are above a number of pixels on average."""
    sides, large = [], []
    for sample in _samples(manifest, root):
        try:
            side = max(image_size(sample.head))
        except BadSample:
            continue
        sides.append(side)
        if side > above:
            large.append(sample)
    if not large or statistics.mean(sides) <= above:
        return None
    with ThreadPoolExecutor(_TIMED) as pool:
        some = list(pool.map(lambda sample: sample.whole(), large[:_TIMED]))
    return _Large(round(statistics.mean(sides)), some)


def _times_as_fast(some: list[bytes], views: ImageViews, *, max_side: int) -> float:
    """By what factor decoding and cropping gets faster; 0 if none of them can be decoded."""
    before = after = 0.0
    for data in some:
        try:
            reduced = shrunk(data, max_side=max_side)
        except BadSample:
            continue
        before += _seconds(data, views)
        after += _seconds(reduced, views)
    return before / after if after else 0.0


def _seconds(data: bytes, views: ImageViews) -> float:
    """CPU time of decoding an image and cropping its views; the better of two, by warm caches."""
    sides = [shape[1] for shape in views.shapes for _ in range(shape[0])]
    sizes = np.array([image_size(data)], dtype=np.int64)
    ids = np.zeros(1, dtype=np.int64)
    crops = [
        draw_crops(views, seed=0, epoch=0, sample_ids=ids, view=view, sizes=sizes)[0]
        for view in range(len(sides))
    ]
    taken = []
    for _ in range(2):
        began = time.thread_time()
        pixels = decode_image(data)
        for (top, left, height, width), side in zip(crops, sides, strict=True):
            box = int(top), int(left), int(height), int(width)
            crop_and_resize(pixels, box, side, antialias=views.antialias)
        taken.append(time.thread_time() - began)
    return min(taken)


def _samples(manifest: Manifest, root: str) -> Iterator[_Sample]:
    """Some samples: of shuffled shards the first one is like all others."""
    if not manifest.samples:
        return
    spread = 1 if manifest.shuffled else _SHARDS
    numbers = np.unique(np.linspace(0, len(manifest.shards) - 1, spread).astype(int)).tolist()
    column = (manifest.parts or (manifest.image_column,))[0]
    for number in numbers:
        shard, count = manifest.shards[number], _LOOKED_AT // len(numbers)
        location = storage.join(root, shard.path)
        if shard.format == "tar":
            yield from _members(location, storage.join(root, shard.index_path), count)
        else:
            yield from _cells(location, shard, column, count)


def _members(location: str, index_path: str, count: int) -> Iterator[_Sample]:
    index = load_index(index_path)
    rows = np.unique(np.linspace(0, len(index.offset) - 1, count).astype(int))
    starts = index.offset[rows].tolist()
    stops = (index.offset[rows] + index.size[rows]).tolist()

    def sample(start: int, stop: int) -> _Sample:
        head = storage.read_range(location, start, min(stop, start + _HEAD_BYTES))
        return _Sample(head, partial(storage.read_range, location, start, stop))

    with ThreadPoolExecutor(_TOGETHER) as pool:
        yield from pool.map(sample, starts, stops)


def _cells(location: str, shard: Shard, column: str, count: int) -> Iterator[_Sample]:
    """The first cells of a table; fewer where they are so large that they would take minutes."""
    mean_bytes = max(1, shard.bytes // max(1, shard.samples))
    count = max(_TIMED, min(count, _TABLE_BYTES // mean_bytes))
    store, path = storage.resolve(location)
    with (
        store.open_input_file(path) as file,
        pq.ParquetFile(file, buffer_size=_HEAD_BYTES) as table,
    ):
        first = next(table.iter_batches(count, columns=[column]), None)
    for cell in () if first is None or not first.num_columns else first.column(0).to_pylist():
        if isinstance(cell, str):
            yield _of_file(storage.join(storage.parent(location), cell))
        else:
            data = (cell.get("bytes") if isinstance(cell, dict) else cell) or b""
            yield _Sample(data[:_HEAD_BYTES], partial(bytes, data))


def _of_file(location: str) -> _Sample:
    head = storage.read_range(location, 0, _HEAD_BYTES)
    return _Sample(head, partial(storage.read_file, location))
