"""How far ahead is read, what a node's cache must hold, and what crosses the network. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow.compute as pc

from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.order.shuffle import PIECES_PER_WINDOW
from pipeline.data.order.streams import StreamPlan
from pipeline.data.order.workers import workers_that_train
from pipeline.data.reading.ahead import ReadingAhead, reading_ahead
from pipeline.errors import Problem
from pipeline.recipe import Recipe


def read_ahead(recipe: Recipe, *, workers: int) -> ReadingAhead:
    """How a worker's order is cut into slices.

    Args:
        recipe: of the run.
        workers: that train; they divide the streams.
    """
    return reading_ahead(
        streams=recipe.data.streams // workers,
        per_batch=recipe.train.global_batch // recipe.data.streams,
        row_bytes=recipe.views.row_bytes,
        cpus=recipe.data.ingest_cpus,
        at_most=recipe.data.read_ahead_bytes,
    )


def problems(recipe: Recipe) -> list[Problem]:
    """Too low a bound on what is read ahead, whichever number of its workers trains."""
    if recipe.train.global_batch % recipe.data.streams:
        return []  # told of the streams
    workers = workers_that_train(recipe.data.streams, started=recipe.train.least_workers)
    ahead = read_ahead(recipe, workers=workers)
    if ahead.bytes <= recipe.data.read_ahead_bytes:
        return []
    told = (
        f"{recipe.data.read_ahead_bytes} bytes, but {ahead.slices} slices for "
        f"{recipe.data.ingest_cpus:g} CPUs, each of one sample of a worker's "
        f"{recipe.data.streams // workers} streams, are {ahead.bytes}; allowed are as many or "
        "more, or fewer of data.ingest_cpus"
    )
    return [Problem("data.read_ahead_bytes", told)]


class Fetching(NamedTuple):
    """What remote shards cost a node that serves all streams; zeros where all shards are local."""

    cache_bytes: int
    """Disk with which no byte is fetched twice in an epoch."""
    times: float
    """How often the data is fetched in an epoch with `data.cache_bytes`, roughly."""


def fetching(recipe: Recipe, cut: StreamPlan, *, workers: int) -> Fetching:
    """What a node's cache must hold: each stream's window and the one to follow.

    Copies are kept by shard, the least recently used go first. Where they are less than what is
    open, a slice finds gone what had been fetched for the slice before it.

    Args:
        recipe: of the run.
        cut: of its data.
        workers: that train.
    """
    needed = _open_windows(recipe, cut)
    if needed <= recipe.data.cache_bytes:
        return Fetching(needed, 1.0 if needed else 0.0)
    slices = cut.shuffle_window / read_ahead(recipe, workers=workers).per_stream
    lacking = 1 - recipe.data.cache_bytes / needed
    return Fetching(needed, round(1 + lacking * max(1.0, slices), 1))


def _open_windows(recipe: Recipe, cut: StreamPlan) -> int:
    corpus = load_corpus(recipe.data.manifests)
    needed, first = 0, 0
    for number, (_, streams) in enumerate(cut.sources_left):
        shards = corpus.manifests[number].shards
        if storage.is_remote(corpus.root(number)):
            mean = pc.sum(shards.table["bytes"]).as_py() / corpus.samples[number]
            lengths = map(cut.length, range(first, first + streams))
            per_shard = corpus.samples[number] / len(shards)
            needed += sum(_open_bytes(n, n / per_shard, mean, cut.shuffle_window) for n in lengths)
        first += streams
    return needed


def _open_bytes(samples: int, shards: float, mean: float, window: int) -> int:
    """What copies of a stream's shards hold while any of two windows is needed.

    A shard that is wanted again before its copy goes keeps what it had: with 2 P pieces, at random,
    in two windows, a copy has been wanted exp(2 P / shards) times on average.
    """
    kept = math.exp(min(16.0, 2 * PIECES_PER_WINDOW / shards))
    return math.ceil(mean * min(2 * window * kept, samples))


def warnings(recipe: Recipe, found: Fetching, *, workers: int) -> Iterator[str]:
    """Too small a cache."""
    if found.cache_bytes <= recipe.data.cache_bytes:
        return
    share = -(-found.cache_bytes // workers)
    apart = f", {share} if each of the {workers} workers has a node of its own" * (workers > 1)
    yield (
        f"data.cache_bytes: {recipe.data.cache_bytes} hold less than the open windows of "
        f"{recipe.data.streams} streams, so that the shards are fetched roughly {found.times:g} "
        f"times an epoch; {found.cache_bytes} would do{apart}; or a smaller data.shuffle_window"
    )


def network_bytes(recipe: Recipe) -> int:
    """Bytes of an image's views that come from another node, at most: none beside the worker."""
    data = recipe.data
    return recipe.views.row_bytes if (data.ingest, data.readers) == ("ray", "anywhere") else 0
