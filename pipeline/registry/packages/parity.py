"""Whether a stored encoder gives what the trained one gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.evaluation.config import FeatureKind
from pipeline.evaluation.features import encode_images
from pipeline.registry.packages.config import PackageConfig

TOLERANCE = 1e-4
"""Of the largest feature: what other kernels and libraries may add up to in float32."""

_IMAGES = 8

Features = npt.NDArray[np.float32]


class ParityError(RuntimeError):
    """A stored encoder gives other features than the one it was made of."""


class Parity(NamedTuple):
    """A few images, and what the trained encoder makes of them."""

    images: npt.NDArray[np.uint8]  # (N, S, S, 3)
    features: Features  # (N, D), of the kind that `PackageConfig.served` says

    def check(self, found: Features, *, of: str) -> float:
        """How far features are from these, at most, as a part of the largest of these.

        Args:
            found: (N, D), of another encoder.
            of: that encoder in a word or two.

        Raises:
            ParityError: further than `TOLERANCE`, of another shape, or not finite.
        """
        if found.shape != self.features.shape:
            raise ParityError(
                f"{of} gives features of shape {found.shape}, the trained encoder of shape "
                f"{self.features.shape}"
            )
        difference = relative_difference(found, self.features)
        if not difference <= TOLERANCE:  # NaN too
            raise ParityError(
                f"{of} gives other features than the trained encoder: they differ by "
                f"{difference:.2g} of the largest one, allowed: {TOLERANCE:g}"
            )
        return difference


def expected_of(
    backbone: nn.Module, config: PackageConfig, autoencoder: Autoencoder | None = None
) -> Parity:
    """Images of noise by a fixed seed, and what a trained encoder makes of them.

    Args:
        backbone: the trained one.
        config: of its package.
        autoencoder: behind it.
    """
    prep, served = config.preprocessing, config.served
    shape = (_IMAGES, prep.size, prep.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    features = encode_images(
        backbone,
        images,
        kind=FeatureKind(served.kind),
        mean=prep.mean,
        std=prep.std,
        features=served,
        autoencoder=autoencoder,
    )
    return Parity(images, features.numpy())


def relative_difference(found: Features, expected: Features) -> float:
    """The largest difference as a part of the largest feature; NaN if one is not finite."""
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("nan")
    largest = float(np.abs(expected).max(initial=0))
    difference = float(np.abs(found - expected).max(initial=0))
    return difference / largest if largest else difference
