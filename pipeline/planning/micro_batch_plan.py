"""Which micro-batches a recipe may have, and what to know about them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pipeline.data.order.workers import workers_that_train
from pipeline.errors import Problem
from pipeline.recipe import Recipe


def problems(recipe: Recipe) -> list[Problem]:
    """A micro-batch that does not divide the share of some number of workers that may train."""
    train = recipe.train
    if train.micro_batch is None or train.global_batch % recipe.data.streams:
        return []
    workers = _workers_that_may_train(recipe)
    common = math.gcd(*(train.global_batch // count for count in workers))
    if common % train.micro_batch == 0:
        return []
    divisors = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
    return [
        Problem(
            "train.micro_batch",
            f"{train.micro_batch} does not divide a worker's share of train.global_batch = "
            f"{train.global_batch} among {' or '.join(map(str, workers))} of train.workers (as "
            f"data.streams = {recipe.data.streams} allows); allowed: null, {divisors}",
        )
    ]


def _workers_that_may_train(recipe: Recipe) -> list[int]:
    started = range(recipe.train.least_workers, recipe.train.most_workers + 1)
    return sorted({workers_that_train(recipe.data.streams, started=n) for n in started})


def warnings(recipe: Recipe, *, batch_norm: bool) -> Iterator[str]:
    """What batch normalisation in the encoder, if there is any, makes of micro-batches."""
    size = recipe.train.micro_batch
    workers = _workers_that_may_train(recipe)
    if size is None or size == recipe.train.global_batch // workers[0]:
        return
    if batch_norm:
        varies = "; results depend on how many workers train" if len(workers) > 1 else ""
        yield (
            f"train.micro_batch: batch normalisation in the encoder sees {size} samples of each "
            f"worker at once, not the whole batch{varies}"
        )
