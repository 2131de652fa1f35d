"""UniGrad: pairs agree, and pull on what all samples have in common is turned down."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives
from pipeline.encoders.ema import EMATwin
from pipeline.encoders.heads import mlp
from pipeline.objectives.base import (
    Capabilities,
    EncodedViews,
    Objective,
    PairLosses,
    at_least_float32,
    without_autocast,
)
from pipeline.objectives.byol import negative_cosine
from pipeline.objectives.configs.unigrad import UniGradConfig


class UniGrad(Objective):
    """-z . t + lambda / 2 z F z, with F the average correlation of targets t.

    The official code's surrogate has the same gradient, but no value to speak of.
    """

    capabilities = Capabilities(views=2, mining="per_sample", arbitration="per_sample")
    correlation: Tensor
    steps: Tensor
    views_apart = True

    def __init__(self, *, config: UniGradConfig, feature_width: int) -> None:
        super().__init__(
            feature_width=feature_width, projector=mlp(feature_width, config.projector)
        )
        self.ema = config.ema
        self._config = config
        self.target_projector = EMATwin(self.projector) if config.ema else None
        width = config.projector[-1]
        self.register_buffer("correlation", torch.zeros(width, width))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._moved: Tensor | None = None

    def forward(self, views: EncodedViews) -> PairLosses:
        """Pairs' agreement as losses, the decorrelation as a term."""
        z_VBD = F.normalize(self.project_views(views.features), dim=-1)
        targets_VBD = self._targets(views, z_VBD)
        loss = negative_cosine(z_VBD, targets_VBD)
        moved = self._average(batch_correlation(targets_VBD))
        self._moved = moved
        return PairLosses(
            loss=loss,
            evidence=loss.detach().mean(dim=0),
            projections=z_VBD,
            terms={"decorrelation": self._config.decorrelation * decorrelation(z_VBD, moved)},
        )

    def _targets(self, views: EncodedViews, z_VBD: Tensor) -> Tensor:
        if self.target_projector is None:
            return z_VBD.detach()
        assert views.targets is not None
        targets = at_least_float32(self.of_views(self.target_projector, views.targets))
        return F.normalize(targets, dim=-1)

    def _average(self, correlation: Tensor) -> Tensor:
        memory = self._config.memory * (self.steps > 0).to(correlation.dtype)
        return correlation.lerp(self.correlation.to(correlation.dtype), memory)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the twin's head and the correlation."""
        if self.target_projector and self.ema:
            self.target_projector.follow(self.projector, self.ema.momentum(progress))
        if self._moved is not None:
            self.correlation.copy_(self._moved)
            self.steps.add_(1)
            self._moved = None


@torch.no_grad()
def batch_correlation(targets_VBD: Tensor) -> Tensor:
    """Mean of t t^T over views and the global batch, (D, D). Every rank calls this.

    Args:
        targets_VBD: unit vectors of this rank's samples.
    """
    t_MD = targets_VBD.flatten(0, 1)
    with without_autocast(t_MD):
        products = t_MD.T @ t_MD
    return collectives.all_sum(products) / (len(t_MD) * collectives.world_size())


def decorrelation(z_VBD: Tensor, correlation_DD: Tensor) -> Tensor:
    """Mean of z F z / 2 over this rank's views and samples.

    Args:
        z_VBD: unit vectors.
        correlation_DD: F, symmetric and without gradient.
    """
    z_MD = z_VBD.flatten(0, 1)
    with without_autocast(z_MD):
        pulled = z_MD @ correlation_DD
    return (pulled * z_MD).sum(dim=1).mean() / 2
