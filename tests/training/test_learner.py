"""The learner's way from blocks of views to features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.objectives.base import Capabilities, Objective, PairLosses
from pipeline.training.learner import Learner
from pipeline.views.parameters import ImageViews

pytestmark = pytest.mark.fast


class Keeping(Objective):
    """Keeps the features that it is given."""

    capabilities = Capabilities(views=2, local_views=True, mining="none", arbitration="none")

    def forward(self, features: Tensor) -> PairLosses:
        self.features = features
        loss = features.square().sum(-1)
        return PairLosses(loss=loss, evidence=loss.mean(0), projections=features)


class MeanColour(nn.Module):
    """The mean colour of an image of any size."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def test_features_are_those_of_the_global_views_and_then_of_the_local_ones() -> None:
    objective = Keeping()
    config = ImageViews(mean=(0, 0, 0), std=(1, 1, 1))
    learner = Learner(encoder=MeanColour(), objective=objective, views=config)
    large = torch.randint(0, 256, (5, 2, 8, 8, 3), dtype=torch.uint8)
    small = torch.randint(0, 256, (5, 3, 4, 4, 3), dtype=torch.uint8)
    learner.step(torch.arange(5), (large, small))
    every = [*large.unbind(1), *small.unbind(1)]
    assert objective.features.shape == (5, 5, 3)
    for features, view in zip(objective.features, every, strict=True):
        torch.testing.assert_close(features, view.float().mean(dim=(1, 2)) / 255)
