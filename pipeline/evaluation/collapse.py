"""Signs of collapse that are cheap enough to look at while training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def batch_spread(z_ND: Tensor) -> Tensor:
    """Root mean square distance of L2-normalised rows from their mean; a scalar in float32.

    Near 1 where rows point everywhere, 0 where all are equal: complete collapse. It is the standard
    deviation of a dimension times sqrt(D), where all dimensions have the same (Chen & He, Exploring
    Simple Siamese Representation Learning, 2021, section 4.1).

    Args:
        z_ND: (N, D), any floating dtype, N >= 2.
    """
    unit = F.normalize(z_ND.float(), dim=1)
    return (unit - unit.mean(dim=0)).square().sum(dim=1).mean().sqrt()


@torch.no_grad()
def batch_rank(z_ND: Tensor) -> Tensor:
    """Effective number of directions in which rows differ; a scalar in float32.

    tr(C)^2 / |C|^2 of the covariance C, the exponential of the Renyi-2 entropy of its eigenvalues:
    D where they are equal, 1 where all rows lie on a line, which is dimensional collapse (Jing et
    al., Understanding Dimensional Collapse in Contrastive Self-supervised Learning, 2022). Unlike
    entropies of the eigenvalues it needs no decomposition. 1 if all rows are equal.

    Args:
        z_ND: (N, D), any floating dtype, N >= 2.
    """
    centred = z_ND.float() - z_ND.float().mean(dim=0)
    centred = centred / centred.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    with torch.autocast(z_ND.device.type, enabled=False):
        # Both products have the same squares in sum; the smaller one is taken.
        narrow = centred if len(centred) > centred.shape[1] else centred.T
        squares = (narrow.T @ narrow).square().sum()
    rank = centred.square().sum().square() / squares
    return torch.where(squares > 0, rank, torch.ones_like(rank))
