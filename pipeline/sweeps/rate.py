"""How fast a worker trains, measured on this machine with steps that are thrown away."""

from __future__ import annotations

import time

import torch

from pipeline.data.order.workers import workers_that_train
from pipeline.learning.feed import Feed
from pipeline.learning.learner import build_learner
from pipeline.learning.optimization import Optimization
from pipeline.pairs.config import PairsConfig
from pipeline.recipe import Recipe

_STEPS = 3
_MOST_SAMPLES = 64
"""In a step, of which a larger one takes as much longer."""


def images_per_second(recipe: Recipe) -> float:
    """Of all workers together, if each has a core as fast as one of this machine's.

    On noise, so that reading and decoding, which readers do meanwhile, are not counted.

    Args:
        recipe: of a run.
    """
    recipe = recipe.model_copy(update={"pairs": PairsConfig()})  # which know pairs of data alone
    workers = workers_that_train(recipe.data.streams, started=recipe.train.most_workers)
    share = recipe.train.global_batch // workers
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        learner = build_learner(recipe)
        device = torch.device("cpu")
        feed = Feed(recipe, grid=learner.objective.grid, device=device)
        optimization = Optimization(
            learner, config=recipe.train, seed=recipe.seed, total_steps=_STEPS + 1, device=device
        )
        seconds = []
        for _ in range(_STEPS):
            began = time.perf_counter()
            optimization.step(feed.noise(min(share, _MOST_SAMPLES)))
            seconds.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return workers * min(share, _MOST_SAMPLES) / min(seconds)
