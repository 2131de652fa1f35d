"""Barlow Twins: dimensions agree between views and do not repeat each other."""

from __future__ import annotations

from torch import Tensor

from pipeline import collectives
from pipeline.encoders.batch_norm import GlobalBatchNorm
from pipeline.encoders.heads import mlp
from pipeline.objectives.base import (
    Capabilities,
    EncodedViews,
    Objective,
    PairLosses,
    without_autocast,
)
from pipeline.objectives.configs.barlow import BarlowConfig


class Barlow(Objective):
    """The cross-correlation of two views' projections over the global batch."""

    capabilities = Capabilities(views=2, mining="none", arbitration="none")
    views_apart = True

    def __init__(self, *, config: BarlowConfig, feature_width: int) -> None:
        super().__init__(
            feature_width=feature_width, projector=mlp(feature_width, config.projector)
        )
        self._config = config

    def forward(self, views: EncodedViews) -> PairLosses:
        """Both parts as terms, since no pair owns them; every pair's loss is 0."""
        z_VBD = self.project_views(views.features)
        invariance, redundancy = cross_correlation_losses(z_VBD)
        config = self._config
        nothing = z_VBD.new_zeros(z_VBD.shape[:2])
        return PairLosses(
            loss=nothing,
            evidence=nothing[0],
            projections=z_VBD,
            terms={
                "invariance": config.scale * invariance,
                "redundancy": config.scale * config.redundancy * redundancy,
            },
        )


def standardise(z_BD: Tensor) -> Tensor:
    """Dimensions with mean 0 and biased variance 1 over the global batch. Every rank calls this."""
    normalised: Tensor = GlobalBatchNorm(
        z_BD.shape[1], affine=False, track_running_stats=False, device=z_BD.device
    )(z_BD)
    return normalised


def cross_correlation(z_VBD: Tensor) -> Tensor:
    """C (D, D) of two views over the global batch (equation 2), equal on all ranks.

    Every rank calls this, with equal shapes. The sum over ranks carries gradient, in contrast to
    the official code's, whose gradient is 1/W of this one's.

    Args:
        z_VBD: (2, B, D) projections of this rank's samples, float32 or float64.
    """
    if len(z_VBD) != 2:
        raise ValueError(f"Barlow Twins compares 2 views, got {len(z_VBD)}")
    first, second = map(standardise, z_VBD)
    count = len(first) * collectives.world_size()
    with without_autocast(z_VBD):
        products = first.T @ second
    return collectives.all_sum(products) / count


def squares_off_diagonal(square_DD: Tensor) -> Tensor:
    """The sum of a matrix's squared entries but for its diagonal, with no copy of the matrix."""
    entries, diagonal = square_DD.flatten(), square_DD.diagonal()
    with without_autocast(square_DD):
        return entries.dot(entries) - diagonal.dot(diagonal)


def cross_correlation_losses(z_VBD: Tensor) -> tuple[Tensor, Tensor]:
    """Squares of C's distance from the identity, on and off the diagonal (equation 1).

    Args:
        z_VBD: as for `cross_correlation`.
    """
    correlation = cross_correlation(z_VBD)
    on_diagonal = (correlation.diagonal() - 1).square().sum()
    return on_diagonal, squares_off_diagonal(correlation)
