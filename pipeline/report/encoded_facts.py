"""What a report tells of samples by the features that the finished encoder gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.views.arrays import Floats, Ints, Pixels


@dataclass(frozen=True, kw_only=True)
class EncodedSamples:
    """Samples that the encoder was shown."""

    source: str  # what they are some of
    available: int  # how many there are of it
    sample_ids: Ints  # (N,)
    labels: Sequence[str | None]  # N names of classes
    thumbnails: Pixels  # (N, s, s, 3) uint8


@dataclass(frozen=True, kw_only=True)
class PlanarMap:
    """Samples on a plane, those of like features together, in groups."""

    places: Floats  # (N, 2), without unit
    groups: Ints  # (N,) of each sample, a row of `names`
    names: Sequence[str]
    own: int  # how many of them, the first ones, are a group of their own; others are rests
    labelled: bool  # whether groups are classes; else they are of like features


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How often nearest samples have the same label."""

    share: float
    by_chance: float  # of samples drawn at random from the same ones


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Some samples, each with those that are nearest to it, by cosine; all are rows of N."""

    queries: Ints  # (Q,)
    nearest: Ints  # (Q, K) the nearest first
    cosines: Floats  # (Q, K)
    agreement: Agreement | None  # of all N samples; None: too few have labels


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Eigenvalues of the features' covariance."""

    eigenvalues: Floats  # (k,) over the largest, falling, without those that are rounding
    width: int  # D of features


@dataclass(frozen=True, kw_only=True)
class EncodedFacts:
    """What there is to show of them, or why it cannot be had."""

    samples: EncodedSamples
    map: PlanarMap | str
    neighbours: Neighbours | str
    spectrum: Spectrum | str


@dataclass(frozen=True, kw_only=True)
class Near:
    """A sample that lies near another one."""

    sample_id: int
    cosine: float
    label: str | None
    thumbnail: Pixels  # (s, s, 3) uint8
