"""Numbers that both executors compute with: weights of luma, a blur's width, a hue's matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def blur_kernel(side: int) -> int:
    """Width of the blur's kernel: a tenth of the view's side (odd, at least 3), as in SimCLR."""
    return max(3, side // 10 // 2 * 2 + 1)


LUMA = np.array([0.299, 0.587, 0.114])  # of RGB, as ITU-R BT.601 weighs them
_YIQ_FROM_RGB = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB_FROM_YIQ = np.linalg.inv(_YIQ_FROM_RGB)


def yiq_rotation(hue: Floats) -> Floats:
    """Matrices that shift the hue by turning the chroma plane of YIQ, leaving luma as it is.

    Args:
        hue: (B,) shares of the colour circle, positive from red towards green.

    Returns:
        (B, 3, 3), applied to RGB columns.
    """
    cos, sin = np.cos(2 * np.pi * hue), np.sin(2 * np.pi * hue)
    turn = np.zeros((len(hue), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = cos
    turn[:, 1, 2], turn[:, 2, 1] = sin, -sin
    return _RGB_FROM_YIQ @ turn @ _YIQ_FROM_RGB
