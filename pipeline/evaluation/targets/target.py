"""What is to be told of a training set and a test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.config import TargetKind
from pipeline.evaluation.probe_set import Images

Ids = npt.NDArray[np.int64]
Values = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class TargetedSamples:
    """Samples of one set, in the order of their ids, and what is to be told of them."""

    ids: Ids  # (N,)
    values: Values
    """Classes (N,) int64, labels (N, L) bool, or numbers (N,) float64."""

    without: int
    """Samples before the last of them that have no target."""


@dataclass(frozen=True, kw_only=True)
class TargetedImages:
    """The same with images."""

    images: Images  # (N, S, S, 3)
    values: Values


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is to be told, of which samples."""

    kind: TargetKind
    names: tuple[str, ...]
    """Of classes or labels; none of numbers."""

    train: TargetedSamples
    test: TargetedSamples
    column: str | None = None
    """Of the table; None: labels of the shards."""

    lines_without_sample: int = 0
    """Lines of the table that name no sample of either set."""

    def facts(self) -> dict[str, Any]:
        """As results hold it."""
        sets = (("train", self.train), ("test", self.test))
        return {
            "kind": str(self.kind),
            "column": self.column,
            "names": len(self.names),
            **{name: len(samples.ids) for name, samples in sets},
            **{f"{name}_without": samples.without for name, samples in sets},
            "lines_without_sample": self.lines_without_sample,
        }
