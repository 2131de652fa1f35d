"""What can be turned into shards yields its samples in one global shuffle.

The order is by a hash of the seed and the sample's number: the same source and seed give the same
shards, and a table need not fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.randomness import mix


class RawSample(NamedTuple):
    """An encoded image before it is checked."""

    key: str
    data: bytes
    label: str | None


class Source(Protocol):
    """A set of encoded images that can be listed in a global shuffle."""

    def __len__(self) -> int:
        """Number of samples, readable or not."""

    def classes(self) -> tuple[str, ...]:
        """Names of the labels; empty without labels."""

    def shuffled(self, seed: int) -> Iterator[RawSample]:
        """Every sample once, in an order that depends on the seed alone."""


def shuffle_keys(seed: int, first: int, stop: int) -> npt.NDArray[np.uint64]:
    """What samples of these numbers are ordered by, (stop - first,)."""
    return mix("shard", seed, np.arange(first, stop))
