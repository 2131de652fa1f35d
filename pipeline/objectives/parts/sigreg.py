"""SIGReg: how far a batch is from a standard normal distribution, seen in random directions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from pipeline import collectives
from pipeline.objectives.base import without_autocast

_POINTS = 17
_STEP = 3.0 / (_POINTS - 1)
_BLOCK = 1 << 16  # numbers at once


def random_slices(width: int, count: int, *, seed: int) -> Tensor:
    """Directions (width, count) of unit length in float32 on the CPU, the same for equal seeds."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(width, count, generator=generator), dim=0)


def sigreg(z_VND: Tensor, slices_DS: Tensor) -> Tensor:
    """Sketched isotropic Gaussian regularisation of each view over the global batch, (V,).

    The mean over slices of the Epps-Pulley statistic (Balestriero & LeCun, LeJEPA, 2025, section
    4.2): N times the integral of |phi_N(t) - phi(t)|^2 exp(-t^2 / 2), with the empirical
    characteristic function phi_N and the normal one phi, by the trapezoid rule on 17 points in
    [0, 3], doubled by symmetry. It is 1.0525 on average for normal samples of any number, and
    0.402 N where all are 0.

    Every rank calls this, with equal shapes; the value is equal on all ranks and has the gradient
    of the global batch.

    Args:
        z_VND: of this rank's samples, float32 or float64.
        slices_DS: equal on all ranks.
    """
    count = z_VND.shape[1] * collectives.world_size()
    with without_autocast(z_VND):
        projected_VNS = z_VND @ slices_DS
    sums: Tensor = _CharacteristicSums.apply(projected_VNS)
    cosines_TVS, sines_TVS = collectives.all_sum(sums) / count
    points = _STEP * torch.arange(_POINTS, dtype=sums.dtype, device=sums.device)
    normal = (-points.square() / 2).exp()
    weights = 2 * _STEP * normal
    weights[0] /= 2
    weights[-1] /= 2
    distances_TVS = (cosines_TVS - normal[:, None, None]).square() + sines_TVS.square()
    return count * (weights[:, None] * distances_TVS.mean(dim=2)).sum(dim=0)


class _CharacteristicSums(torch.autograd.Function):
    """Sums over samples of cos(t y) and sin(t y): from (V, N, S) to (2, T, V, S).

    Autograd on its own would keep 2 T tensors as large as the input; here the backward pass finds
    them again. A few slices at once stay in a processor's cache.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, projected_VNS: Tensor) -> Tensor:
        ctx.save_for_backward(projected_VNS)
        views, _, slices = projected_VNS.shape
        sums = projected_VNS.new_empty(2, _POINTS, views, slices)
        for place, y in _blocks(projected_VNS):
            for number, waves in enumerate(_waves(y)):
                for wave, of_wave in zip(waves, sums, strict=True):
                    of_wave[number, :, place] = wave.sum(dim=1)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        (projected_VNS,) = ctx.saved_tensors  # type: ignore[attr-defined]
        total = torch.empty_like(projected_VNS)
        of_cosines, of_sines = grad.unsqueeze(3)
        for place, y in _blocks(projected_VNS):
            gathered = torch.zeros_like(y)
            for number, (c, s) in enumerate(_waves(y)):
                point = number * _STEP
                gathered.addcmul_(s, of_cosines[number, :, :, place], value=-point)
                gathered.addcmul_(c, of_sines[number, :, :, place], value=point)
            total[:, :, place] = gathered
        return total


def _blocks(values_VNS: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Copies of a few slices at once, and where they are from."""
    views, samples, slices = values_VNS.shape
    width = max(1, _BLOCK // (views * samples))
    if values_VNS.device.type != "cpu":
        width = slices
    for start in range(0, slices, width):
        place = slice(start, start + width)
        yield place, values_VNS[:, :, place].contiguous()


def _waves(y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """cos(t y) and sin(t y) at the points t in turn, by rotation, which costs no sines."""
    c, s = torch.ones_like(y), torch.zeros_like(y)
    yield c, s
    turn_c, turn_s = (_STEP * y).cos(), (_STEP * y).sin()
    for _ in range(1, _POINTS):
        c, s = c * turn_c - s * turn_s, s * turn_c + c * turn_s
        yield c, s
