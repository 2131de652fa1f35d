"""Feature arrays as the label-free measures take them: checked, in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]


def as_features(features: Floats, *, at_least: int = 1) -> Doubles:
    """Features as float64.

    Args:
        features: (N, D), any floating-point type.
        at_least: smallest N that the caller can measure.

    Returns:
        (N, D) float64.

    Raises:
        ValueError: not (N, D), not floating point, fewer samples, no dimension, or not finite.
    """
    x_ND = _as_finite(features)
    if x_ND.ndim != 2 or len(x_ND) < at_least or not x_ND.shape[1]:
        raise ValueError(f"features must be (N >= {at_least}, D >= 1), not {x_ND.shape}")
    return x_ND


def as_views(views: Floats) -> Doubles:
    """Features of views as float64.

    Args:
        views: (N, V, D), any floating-point type; row n holds the V views of one sample.

    Returns:
        (N, V, D) float64.

    Raises:
        ValueError: not (N, V, D), fewer than two samples or views, no dimension, not floating
            point, or not finite.
    """
    x_NVD = _as_finite(views)
    if x_NVD.ndim != 3 or min(x_NVD.shape[:2]) < 2 or not x_NVD.shape[2]:
        raise ValueError(f"views must be (N >= 2, V >= 2, D >= 1), not {x_NVD.shape}")
    return x_NVD


def _as_finite(array: Floats) -> Doubles:
    array = np.asarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"features must be floating point, not {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError("features hold NaN or infinity")
    return array.astype(np.float64)


def as_labels(labels: Labels, *, count: int) -> Labels:
    """Labels, one integer a sample.

    Args:
        labels: (N,) integers.
        count: N.

    Raises:
        ValueError: not integers, or not N of them.
    """
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (count,):
        raise ValueError(f"labels must be {count} integers, not {labels.dtype} {labels.shape}")
    return labels


def unit_rows(features: Doubles) -> Doubles:
    """Features divided by their L2 norm over the last axis; a row of zeros stays as it is."""
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.where(norms > 0, norms, 1)


def rounding_norm(features: Floats) -> float:
    """Norm below which a part of the features is no more than rounding.

    The rows of a collapsed encoder differ by the rounding of the type they were computed in, and
    what is left after subtracting their mean is noise of full rank: a measure that ignored this
    would call it rich. The arithmetic of a singular value decomposition in float64 adds its own
    error, bounded as in numpy's `matrix_rank`.

    Args:
        features: as the encoder gave them, before the conversion to float64.

    Returns:
        The same unit as a singular value of the features.
    """
    features = np.asarray(features)
    given = np.finfo(features.dtype).eps
    arithmetic = np.finfo(np.float64).eps * max(len(features), features.shape[-1])
    return float(np.linalg.norm(features.astype(np.float64)) * max(given, arithmetic))
