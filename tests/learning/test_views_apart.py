"""Batch normalisation in methods whose authors encode view after view, and in SimCLR."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, VICRegLoss
from torch import Tensor

from pipeline.learning.learner import Learner, LearnerBatch, build_learner
from pipeline.pairs.weighting import uniform_weights, weighted_total
from pipeline.recipe import Recipe
from tests.objectives.cases import OBJECTIVES

pytestmark = pytest.mark.fast

BATCH = 8
APART = {"mocov3", "byol", "simsiam", "barlow", "vicreg", "unigrad"}
CONTRASTIVE = {
    name: section
    for name, section in OBJECTIVES.items()
    if section["kind"] not in ("mim", "a_mim", "cmim", "composite")
}


def learner_of(section: dict[str, Any], **train: Any) -> Learner:
    recipe = Recipe.model_validate(
        {
            "data": {"shards": "unused"},
            "views": {"size": 32},
            "encoder": {
                "name": "resnet10t",
                "args": {"channels": [8, 8, 16, 16], "stem_width": 8},
            },
            "objective": section,
            "train": {"epochs": 1, "global_batch": BATCH, **train},
        }
    )
    return build_learner(recipe).double().train()


def block(*, views: int = 2, size: int = 32) -> Tensor:
    noise = torch.Generator().manual_seed(views)
    shape = BATCH, views, size, size, 3
    return torch.randint(0, 256, shape, generator=noise, dtype=torch.uint8)


def encoded(learner: Learner, views: Tensor) -> Tensor:
    """Of all views as one batch."""
    features: Tensor = learner.encoder(learner.normalise(views))
    return features.unflatten(0, (views.shape[1], -1))


def encoded_one_by_one(learner: Learner, views: Tensor) -> Tensor:
    return torch.cat([encoded(learner, view) for view in views.split(1, dim=1)])


def batch_of(*blocks: Tensor) -> LearnerBatch:
    return LearnerBatch(sample_id=torch.arange(BATCH), views=blocks)


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_the_encoder_sees_views_as_the_method_has_it(name: str) -> None:
    section = CONTRASTIVE[name]
    learner = learner_of(section)
    reference = deepcopy(learner)
    apart = section["kind"] in APART or section.get("base") in APART
    encode = encoded_one_by_one if apart else encoded
    views = block()
    found, expected = learner.encode(batch_of(views)), encode(reference, views)
    torch.testing.assert_close(found.features, expected, rtol=1e-9, atol=1e-11)
    if learner.twin is not None:  # its weights are the encoder's still
        torch.testing.assert_close(found.targets, expected, rtol=1e-9, atol=1e-11)
    for statistics, value in reference.encoder.named_buffers():
        torch.testing.assert_close(learner.encoder.get_buffer(statistics), value)


def test_so_it_sees_local_views() -> None:
    learner = learner_of(OBJECTIVES["byol"])
    reference = deepcopy(learner)
    blocks = block(), block(views=3, size=16)
    features = learner.encode(batch_of(*blocks)).features
    expected = torch.cat([encoded_one_by_one(reference, views) for views in blocks])
    torch.testing.assert_close(features, expected, rtol=1e-9, atol=1e-11)


def test_a_micro_batch_is_of_one_view() -> None:
    learner = learner_of(OBJECTIVES["byol"], micro_batch=4)
    reference = deepcopy(learner)
    views = block()
    found = learner.encode(batch_of(views))
    parts = [encoded_one_by_one(reference, part) for part in views.split(4)]
    for features in (found.features, found.targets):
        torch.testing.assert_close(features, torch.cat(parts, dim=1), rtol=1e-9, atol=1e-11)


def test_a_composite_encodes_apart_where_a_part_does() -> None:
    parts = [{"objective": OBJECTIVES["simclr"]}, {"objective": OBJECTIVES["vicreg"]}]
    learner = learner_of({"kind": "composite", "parts": parts})
    reference = deepcopy(learner)
    views = block()
    expected = encoded_one_by_one(reference, views)
    torch.testing.assert_close(learner.encode(batch_of(views)).features, expected)


def lightly_byol(learner: Learner, views: Tensor) -> Tensor:
    head = learner.objective
    online = [head.predictor(head.projector(f)) for f in encoded_one_by_one(learner, views)]
    assert learner.twin is not None
    twins = [learner.twin(learner.normalise(view)) for view in views.split(1, dim=1)]
    targets = [head.target_projector(twin) for twin in twins]
    criterion = NegativeCosineSimilarity()
    # Its value is -cos, where the paper's is 2 - 2 cos.
    both = criterion(online[0], targets[1]) + criterion(online[1], targets[0])
    loss: Tensor = 2 + 2 * 0.5 * both
    return loss


def lightly_simsiam(learner: Learner, views: Tensor) -> Tensor:
    z = [learner.objective.projector(f) for f in encoded_one_by_one(learner, views)]
    p = [learner.objective.predictor(projected) for projected in z]
    criterion = NegativeCosineSimilarity()
    loss: Tensor = 0.5 * (criterion(z[0].detach(), p[1]) + criterion(z[1].detach(), p[0]))
    return loss


def lightly_barlow(learner: Learner, views: Tensor) -> Tensor:
    z = [learner.objective.projector(f) for f in encoded_one_by_one(learner, views)]
    loss: Tensor = BarlowTwinsLoss(lambda_param=0.0051)(*z)
    return loss


def lightly_vicreg(learner: Learner, views: Tensor) -> Tensor:
    z = [learner.objective.projector(f) for f in encoded_one_by_one(learner, views)]
    loss: Tensor = VICRegLoss(eps=1e-4)(*z)
    return loss


LOOPS: dict[str, Callable[[Learner, Tensor], Tensor]] = {
    "byol": lightly_byol,
    "simsiam": lightly_simsiam,
    "barlow": lightly_barlow,
    "vicreg": lightly_vicreg,
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_step_is_that_of_lightlys_loop(name: str) -> None:
    """Loss, the gradient of every weight, and running statistics."""
    learner = learner_of({"kind": name, "projector": [16, 8]})
    reference = deepcopy(learner)
    views = block()
    losses = learner.step(batch_of(views)).losses
    loss, expected = weighted_total(losses, uniform_weights(losses)), LOOPS[name](reference, views)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    loss.backward()
    expected.backward()
    for weights, value in reference.named_parameters():
        found = learner.get_parameter(weights).grad
        if value.grad is None:
            assert found is None, weights
        else:
            torch.testing.assert_close(found, value.grad, rtol=1e-7, atol=1e-9)
    for statistics, value in reference.named_buffers():
        torch.testing.assert_close(learner.get_buffer(statistics), value)
