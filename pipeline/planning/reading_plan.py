"""How far ahead is read, what a node's cache must hold, and what crosses the network. No torch."""

from __future__ import annotations

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
