"""UOTA: views that deviate from their sample as few others do weigh less."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives
from pipeline.objectives.base import without_autocast
from pipeline.pairs.base import Arbiter
from pipeline.pairs.config import UOTAConfig

_EPSILON = 1e-8  # on the diagonal of the second moment, as in the official code


class UOTA(Arbiter):
    """Weights by a normal model of how far views lie from the centre of their sample.

    With x_vi the unit projection of view v of sample i, and N samples of V views in the global
    batch:

        D_vi = x_vi - mean of x_gi over the global views g
        S    = mean of D_vi D_vi^T over all views and samples, plus a multiple of the identity
        w_vi = V N softmax(-D_vi^T S^-1 D_vi / (temperature d)), over all views and samples

    as in the official code (ssl-codelab/uota, src/uota.py), whose comments name equations M.9 to
    M.12 of the paper. Local views are weighed too, but do not move the centre, so S is a moment
    about 0. Different from the code: S is summed over ranks in place of gathering all D; it is
    shrunk towards the identity, since deviations span no more than (V - 1) N dimensions; a Cholesky
    factor in float64 replaces its inverse in float32; and any number of global views makes a
    centre, where the code has two.

    Of two views one lies where the other does, mirrored at the centre, so both weigh the same: the
    weight is the sample's. Where an objective takes only such weights but there are more views, a
    sample's exponent is the mean of its views'.

    It keeps nothing from step to step, and an epoch follows from the step: there is no state to
    save.
    """

    def __init__(self, *, config: UOTAConfig, per_view: bool) -> None:
        """Keep the settings.

        Args:
            config: the settings.
            per_view: whether views of a sample may have different weights.
        """
        super().__init__(start_epoch=config.start_epoch)
        self._config = config
        self._per_view = per_view

    @torch.no_grad()
    def weights(self, projections_VBD: Tensor, *, global_views: int) -> Tensor:
        """Weights of this rank's samples. Every rank calls this, with equal shapes.

        Args:
            projections_VBD: of this rank, of any length, global views first.
            global_views: how many of the V views there are of that kind.

        Returns:
            (V, B), 1 on average over all ranks, without gradient; at least float32.
        """
        units_VBD = F.normalize(projections_VBD.double(), dim=-1)
        deviations_VBD = units_VBD - units_VBD[:global_views].mean(dim=0)
        if global_views == len(units_VBD) == 2:
            deviations_VBD = deviations_VBD[:1]  # the others mirror them and add nothing
        with without_autocast(deviations_VBD):
            distances_VB = squared_distances(deviations_VBD, shrinkage=self._config.shrinkage)
        if not self._per_view:
            distances_VB = distances_VB.mean(dim=0, keepdim=True)
        exponents_VB = -distances_VB / (self._config.temperature * units_VBD.shape[-1])
        exponents_VB = exponents_VB.expand(units_VBD.shape[:2])
        return softmax_over_ranks(exponents_VB).to(
            torch.promote_types(projections_VBD.dtype, torch.float32)
        )


def squared_distances(deviations_VBD: Tensor, *, shrinkage: float) -> Tensor:
    """D^T S^-1 D of every deviation D, S their second moment over all ranks; (V, B).

    Without shrinkage, and with enough deviations, the mean over all ranks is the number of
    dimensions. Every rank calls this, with equal shapes.

    Args:
        deviations_VBD: of this rank, float64, none longer than 2.
        shrinkage: of S towards the identity, in parts of its mean eigenvalue.
    """
    rows_ND = deviations_VBD.flatten(0, 1)
    moment_DD = collectives.all_sum(rows_ND.T @ rows_ND) / (len(rows_ND) * collectives.world_size())
    variances_D = moment_DD.diagonal()
    variances_D += shrinkage * variances_D.mean() + _EPSILON
    # Does not raise where a projection is not a number: such a loss has a message of its own.
    factor_DD = torch.linalg.cholesky_ex(moment_DD).L
    whitened_DN = torch.linalg.solve_triangular(factor_DD, rows_ND.T, upper=False)
    return whitened_DN.square().sum(dim=0).view(deviations_VBD.shape[:2])


def softmax_over_ranks(exponents_VB: Tensor) -> Tensor:
    """Softmax over all elements of all ranks, times their number.

    Every rank calls this, with equal shapes.
    """
    sums_W = collectives.gather(exponents_VB.logsumexp(dim=(0, 1))[None])
    count = exponents_VB.numel() * collectives.world_size()
    return count * (exponents_VB - sums_W.logsumexp(dim=0)).exp()
