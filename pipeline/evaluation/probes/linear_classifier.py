"""A classifier that is a matrix and a bias: what probes with linear decisions are exported as."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Parameters = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LinearClassifier:
    """Scores classes by `features @ weight.T + bias`."""

    weight: Parameters  # (C, D)
    bias: Parameters  # (C,), -inf for classes that are never predicted

    def scores(self, features: Features) -> Parameters:
        """(M, C) float64 of features (M, D); their softmax is the classes' probabilities."""
        scores: Parameters = features.astype(np.float64) @ self.weight.T + self.bias
        return scores

    def predict(self, features: Features) -> Labels:
        """(M,) int64 labels of features (M, D)."""
        labels: Labels = self.scores(features).argmax(axis=1)
        return labels
