"""What training keeps in memory, found from small batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from pipeline.learning.feed import Feed
from pipeline.learning.learner import Learner
from pipeline.pairs.history import PEAK_BYTES
from pipeline.recipe import Recipe

_MEASURED_BATCH = 4
_AT_THE_END = math.nextafter(1.0, 0.0)  # when everything that warms up is there


def training_bytes(learner: Learner, recipe: Recipe, *, local_batch: int, samples: int) -> int:
    """Weights, gradients, optimizer state, history of samples and what the backward pass needs.

    The part of the objective is taken to grow in proportion to the batch. Only AMCL over SimCLR
    keeps all pairs of a batch, so that its large batches need more than this says, and MIM less
    where its own samples are encoded in micro-batches.

    Args:
        learner: of the recipe.
        recipe: says how many samples the encoder sees at once, on which views.
        local_batch: samples of a worker in a step.
        samples: of a worker's streams.
    """
    at_once = min(local_batch, recipe.train.micro_batch or local_batch)
    half = recipe.train.precision == "bf16"
    with torch.autocast("cpu", torch.bfloat16, enabled=half, cache_enabled=False):
        encoder = _encoder_bytes(learner, recipe, at_once=at_once)
        objective = _objective_bytes(learner, recipe, local_batch)
    remembers = recipe.pairs.miner is not None or recipe.pairs.arbiter is not None
    history = PEAK_BYTES * samples if remembers else 0
    return _fixed_bytes(learner, recipe) + history + encoder + objective


def _fixed_bytes(learner: Learner, recipe: Recipe) -> int:
    copies = {"adamw": 4, "lamb": 4, "sgd": 3, "lars": 3}[recipe.train.optimizer.kind]
    trained = sum(p.numel() * p.element_size() for p in learner.parameters() if p.requires_grad)
    others = chain((p for p in learner.parameters() if not p.requires_grad), learner.buffers())
    return trained * copies + sum(value.numel() * value.element_size() for value in others)


def _encoder_bytes(learner: Learner, recipe: Recipe, *, at_once: int) -> int:
    measured = min(at_once, _MEASURED_BATCH)  # no more, or the learner would keep nothing of it
    batch = _feed(learner, recipe).noise(measured)
    return _kept_bytes(learner, lambda: learner.encode(batch)) * at_once // measured


def _objective_bytes(learner: Learner, recipe: Recipe, local_batch: int) -> int:
    """By two sizes, since matrices of dimensions are as large for every batch."""
    feed = _feed(learner, recipe)

    def kept(batch: int) -> int:
        views = replace(learner.encode(feed.noise(batch)), progress=_AT_THE_END)
        return _kept_bytes(learner, lambda: learner.objective(views))

    small, large = kept(_MEASURED_BATCH), kept(2 * _MEASURED_BATCH)
    return small + (large - small) * (local_batch - _MEASURED_BATCH) // _MEASURED_BATCH


def _feed(learner: Learner, recipe: Recipe) -> Feed:
    return Feed(recipe, grid=learner.objective.grid, device=torch.device("cpu"))


def _kept_bytes(learner: Learner, forward: Callable[[], object]) -> int:
    """Bytes that autograd keeps of a forward pass, each storage counted once."""
    state = chain(learner.parameters(), learner.buffers())
    own = {value.untyped_storage().data_ptr() for value in state}
    sizes: dict[int, int] = {}
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(sizes.values())
