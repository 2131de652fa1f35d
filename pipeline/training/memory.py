"""What training keeps in memory, found from a small batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.objectives.base import EncodedViews
from pipeline.recipe import Recipe
from pipeline.training.learner import Learner

_MEASURED_BATCH = 4


def training_bytes(learner: Learner, recipe: Recipe, *, local_batch: int) -> int:
    """Weights, gradients, optimizer state and the activations kept for the backward pass.

    Args:
        learner: of the recipe.
        recipe: says how many samples the encoder sees at once, on which views.
        local_batch: samples of a worker in a step.
    """
    copies = {"adamw": 4, "lamb": 4, "sgd": 3, "lars": 3}[recipe.train.optimizer.kind]
    fixed = sum(
        p.numel() * p.element_size() * (copies if p.requires_grad else 1)
        for p in learner.parameters()
    )
    at_once = min(local_batch, recipe.train.micro_batch or local_batch)
    measured = min(at_once, _MEASURED_BATCH)  # no more, or the learner would keep nothing of it
    views = tuple(torch.zeros(measured, *shape, dtype=torch.uint8) for shape in recipe.views.shapes)
    with torch.no_grad():
        features = learner.encode(views)
    encoder = _kept_bytes(learner, lambda: learner.encode(views))
    targets = features[: recipe.views.count] if learner.twin else None
    encoded = EncodedViews(features=features.clone().requires_grad_(), targets=targets)
    objective = _kept_bytes(learner, lambda: learner.objective(encoded))
    kept = (encoder * at_once + objective * local_batch) // measured
    return fixed + (kept // 2 if recipe.train.precision == "bf16" else kept)


def _kept_bytes(learner: Learner, forward: Callable[[], object]) -> int:
    """Bytes that autograd keeps of a forward pass, each storage counted once."""
    own = {p.untyped_storage().data_ptr() for p in learner.parameters()}
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
