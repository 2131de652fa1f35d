"""What a report is drawn from: plain values, gathered by whoever knows where a run's files lie."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.report.encoded_facts import EncodedFacts, Near
from pipeline.views.arrays import Floats, Ints
from pipeline.views.blocks import Grid
from pipeline.views.masks import PatchMasks

Pixels = npt.NDArray[np.uint8]
Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A figure over the steps of a run."""

    steps: list[int]
    values: list[float]

    @property
    def finite(self) -> list[float]:
        """The values that are numbers."""
        return [value for value in self.values if math.isfinite(value)]

    @property
    def not_finite_at(self) -> list[int]:
        """Steps whose value is none."""
        pairs = zip(self.steps, self.values, strict=True)
        return [step for step, value in pairs if not math.isfinite(value)]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The first quarantined samples, and how many there are in all."""

    entries: Sequence[Mapping[str, Any]]
    total: int


@dataclass(frozen=True, kw_only=True)
class FirstViews:
    """Views of the first samples of a run's order."""

    sample_ids: list[int]
    blocks: tuple[Pixels, ...]  # for each size of crop (n, V, S, S, 3) uint8, the global ones first


@dataclass(frozen=True, kw_only=True)
class FirstMasks:
    """Masks of the first samples of a run's order, in epoch 0 and step 0."""

    sample_ids: list[int]
    views: Pixels  # (n, S, S, 3) uint8, what is masked
    grid: Grid
    masks: PatchMasks
    mode: str


@dataclass(frozen=True, kw_only=True)
class PatchSimilarity:
    """How similar the finished encoder finds all patches of an image to a few of them."""

    sample_ids: list[int]
    images: Pixels  # (n, S, S, 3) uint8, as the encoder saw them
    grid: Grid
    queries: Ints  # (Q,) patches that all are compared with
    cosines: Floats  # (n, Q, patches)


@dataclass(frozen=True, kw_only=True)
class Reconstructions:
    """What a finished run's decoder makes of the posterior means of its first samples.

    C is 3, or 1 where the decoder gives the mean of an image's channels.
    """

    sample_ids: list[int]
    images: Pixels  # (n, S, S, 3) uint8, as the encoder saw them
    means: Pixels  # (n, S, S, C) uint8 of p(x | z), cut off below 0 and above 1
    nats: Floats  # (n,) -log p(x | z), summed over an image's values
    least_nats: Floats  # (n,) the same of a decoder whose means are the images
    likelihood: str


@dataclass(frozen=True, kw_only=True)
class PriorSamples:
    """What a finished run's decoder makes of codes that are drawn from N(0, I)."""

    width: int  # D of the codes
    seed: int  # that they are drawn by
    means: Pixels  # (n, S, S, C) uint8, as of reconstructions


@dataclass(frozen=True, kw_only=True)
class Interpolations:
    """What a finished run's decoder makes of codes on the way from one sample's to another's."""

    sample_ids: list[tuple[int, int]]  # of each path's two ends
    images: Pixels  # (n, 2, S, S, 3) uint8, of the ends
    means: Pixels  # (n, T, S, S, C) uint8, from the reconstruction of one end to the other's


@dataclass(frozen=True, kw_only=True)
class ListedSample:
    """A bad sample, where it lies, and what is remembered of it."""

    sample_id: int
    shard: str
    key: str
    mean_loss: float  # of what the miner saw
    deviations: float  # of that mean, above the mean of all samples'
    seen: int
    miner_weight: float | None  # of a pair with that mean loss; None: the run has no miner
    arbiter_weight: float | None  # its mean; None: the run has no arbiter


@dataclass(frozen=True, kw_only=True)
class BadSort:
    """Samples that are bad in one way."""

    name: str  # noisy, faulty or outlier
    total: int
    listed: Sequence[ListedSample]  # the worst first; may be fewer than there are


@dataclass(frozen=True, kw_only=True)
class BadPairs:
    """The samples that a run's miner and arbiter find bad."""

    location: str  # of the list
    step: int  # of the checkpoint that it is made of
    known: int  # samples that were seen
    samples: int  # all
    sorts: Sequence[BadSort]
    images: Mapping[int, Pixels] | str
    """(S, S, 3) of the worst by id, of several images side by side; or why there are none."""
    excluded: Ints  # that the run left out
    manifests: tuple[str, ...] = ()  # of the data, which say what was kept of samples
    notes: Sequence[str] = ()
    # Some of the worst by id, each itself first, then what lies nearest; or why that is not known.
    nearest: Mapping[int, Sequence[Near]] | str = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run's own files tell of it, wherever its data is."""

    name: str
    identity: Mapping[str, Any]
    records: Sequence[Record]  # of the journal
    recipe_yaml: str
    result: Mapping[str, Any] | None = None  # of a finished run

    def events(self, name: str) -> list[Record]:
        """The journal's events of a name."""
        return [r for r in self.records if r["kind"] == "event" and r["event"] == name]

    @cached_property
    def metrics(self) -> dict[str, Series]:
        """The metrics of training, by name."""
        return _by_name(r for r in self.records if r["kind"] == "metrics")

    @cached_property
    def evaluations(self) -> list[Record]:
        """The evaluations by step; of those noted again after a kill, the last."""
        found = {r["step"]: r for r in self.records if r["kind"] == "evaluation"}
        return [found[step] for step in sorted(found)]

    @cached_property
    def evaluated(self) -> dict[str, Series]:
        """The metrics of evaluations, by their name without `eval/`."""
        series = _by_name(self.evaluations)
        return {name.removeprefix("eval/"): values for name, values in series.items()}

    @property
    def last_step(self) -> int:
        """The last step that the journal has metrics of; 0 before that."""
        return max((r["step"] for r in self.records if r["kind"] == "metrics"), default=0)

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole run; None if no training has begun."""
        starts = self.events("training")
        return starts[-1]["total_steps"] if starts else None

    @property
    def resumed_at(self) -> list[int]:
        """Steps at which training was taken up again."""
        return [start["step"] for start in self.events("training")[1:]]


@dataclass(frozen=True, kw_only=True)
class RunFacts(RunRecord):
    """Everything that a report tells of one run."""

    views: FirstViews | str  # or why there are none
    encoded: EncodedFacts | str  # or why there are none
    masks: FirstMasks | str | None = None  # None: the run masks nothing
    similarity: PatchSimilarity | str | None = None  # None: the run masks nothing
    reconstructions: Reconstructions | str | None = None  # None: the run has no autoencoder
    prior_samples: PriorSamples | str | None = None  # None: the run has no autoencoder
    interpolations: Interpolations | str | None = None  # None: the run has no autoencoder
    bad_pairs: BadPairs | str | None = None  # None: the run has no miner and no arbiter
    ledger: Ledger | None = None
    failures: Sequence[str] = field(default=())  # what stopped the run, if it was a mistake
    against: RunRecord | None = None  # another run that it is compared with


def _by_name(records: Iterable[Record]) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for record in records:
        for name, value in record["metrics"].items():
            series = found.setdefault(name, Series(steps=[], values=[]))
            series.steps.append(record["step"])
            series.values.append(float(value))
    return found
