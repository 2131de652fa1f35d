"""Positions of patches as sines and cosines, which need no training."""

from __future__ import annotations

import torch
from torch import Tensor

_LONGEST = 10000.0


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed 2-D sine-cosine positions (He et al., Masked Autoencoders, 2022, appendix A.1).

    A quarter of the width each for the sine and the cosine of the row, and of the column, at
    frequencies from 1 down to nearly 1 / 10000 (Vaswani et al., 2017, section 3.5).

    Args:
        grid: patches along the height and the width.
        width: D, a multiple of 4.

    Returns:
        (n, D) float32 of the patches in raster order.
    """
    if width % 4:
        raise ValueError(f"width must be a multiple of 4, got {width}")
    frequencies = _LONGEST ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    angles = [place.reshape(-1, 1) * frequencies for place in (rows, columns)]
    return torch.cat(
        [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1
    ).float()
