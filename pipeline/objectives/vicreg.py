"""VICReg: views of a sample agree, dimensions keep their variance and do not repeat each other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives
from pipeline.encoders.heads import mlp
from pipeline.objectives.barlow import squares_off_diagonal
from pipeline.objectives.base import (
    Capabilities,
    EncodedViews,
    Objective,
    PairLosses,
    without_autocast,
)
from pipeline.objectives.configs.vicreg import VICRegConfig

_EPSILON = 1e-4  # under the root of the variance, as in the paper's appendix A


class VICReg(Objective):
    """The three terms over an expander, variance and covariance of the global batch."""

    capabilities = Capabilities(views=2, mining="per_sample", arbitration="per_sample")
    views_apart = True

    def __init__(self, *, config: VICRegConfig, feature_width: int) -> None:
        super().__init__(
            feature_width=feature_width, projector=mlp(feature_width, config.projector)
        )
        self._config = config

    def forward(self, views: EncodedViews) -> PairLosses:
        """The terms for two views; both of a sample have the same pair loss."""
        z_VBD = self.project_views(views.features)
        first_BD, second_BD = z_VBD.unbind()
        distance = invariance(first_BD, second_BD)
        covariances = [covariance(collectives.gather(z_BD)) for z_BD in (first_BD, second_BD)]
        spread = torch.stack([variance_hinge(found) for found in covariances]).mean()
        redundancy = torch.stack([squared_covariance(found) for found in covariances]).sum()
        config = self._config
        return PairLosses(
            loss=config.invariance * distance.expand(z_VBD.shape[:2]),
            evidence=config.invariance * difference_in_direction(first_BD, second_BD).detach(),
            projections=z_VBD,
            terms={
                "variance": config.variance * spread,
                "covariance": config.covariance * redundancy,
            },
        )


def invariance(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """Mean squared difference of two views, (B,); the mean is over dimensions (equation 5)."""
    return F.mse_loss(first_BD, second_BD, reduction="none").mean(dim=-1)


def difference_in_direction(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """1 less the cosine of two views, (B,), between 0 and 2.

    Projections are not of one length, and those of odd samples are many times longer: pairs that
    are trivially easy differ as much as any others, but not in direction.
    """
    return 1 - F.cosine_similarity(first_BD, second_BD, dim=-1)


def covariance(z_ND: Tensor) -> Tensor:
    """(D, D), unbiased (equation 3)."""
    centred = z_ND - z_ND.mean(dim=0)
    with without_autocast(z_ND):
        return centred.T @ centred / (len(z_ND) - 1)


def variance_hinge(covariance_DD: Tensor) -> Tensor:
    """How far deviations are below 1, the mean over dimensions (equation 1)."""
    deviation = (covariance_DD.diagonal() + _EPSILON).sqrt()
    return F.relu(1 - deviation).mean()


def squared_covariance(covariance_DD: Tensor) -> Tensor:
    """Squares of all covariances of distinct dimensions, over D (equation 4)."""
    return squares_off_diagonal(covariance_DD) / len(covariance_DD)
