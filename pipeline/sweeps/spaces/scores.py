"""What trials are compared by: a probe of held-out labels, or a score that needs none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Score(StrEnum):
    """A figure of a trial's snapshots."""

    linear = "linear"
    knn = "knn"
    naive_bayes = "naive_bayes"
    rankme = "rankme"
    lidar = "lidar"
    alpha_req = "alpha_req"
    idest = "idest"
    lejepa_loss = "lejepa_loss"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is known of a score."""

    metric: str
    """In the journal."""
    better: str
    """In words."""
    sign: float = 1.0
    target: float | None = None
    """The best value, where neither more nor less is better."""
    labels: bool = False
    caveat: str = ""

    def merit(self, value: float) -> float:
        """The score turned so that more is better."""
        return self.sign * value if self.target is None else -abs(value - self.target)


MEASURES: dict[Score, Measure] = {
    **{
        score: Measure(metric=f"eval/{score}", better="more", labels=True)
        for score in (Score.linear, Score.knn, Score.naive_bayes)
    },
    Score.rankme: Measure(
        metric="eval/rankme",
        better="more",
        caveat="ranks of other objectives and other widths of features do not compare; noise has "
        "the highest rank of all",
    ),
    Score.lidar: Measure(
        metric="eval/lidar",
        better="more",
        caveat="depends on the augmentations: do not vary views with it",
    ),
    Score.alpha_req: Measure(
        metric="eval/alpha_req",
        better="nearer to 1",
        target=1.0,
        caveat="a power law is assumed, which collapsed features do not follow",
    ),
    Score.idest: Measure(
        metric="eval/idest",
        better="less",
        sign=-1.0,
        caveat="less is better by its authors' long trainings; in ours of 8 epochs more was; and "
        "collapsed features have the fewest dimensions of all",
    ),
    Score.lejepa_loss: Measure(
        metric="loss",
        better="less",
        sign=-1.0,
        caveat="of LeJEPA alone, and only where its weight of SIGReg is not varied",
    ),
}


def merits_of(metrics: Mapping[str, float], scores: tuple[Score, ...]) -> list[float] | None:
    """The scores turned so that more is better; None if one is missing, or no number."""
    values = [metrics.get(MEASURES[score].metric, math.nan) for score in scores]
    if not all(map(math.isfinite, values)):
        return None
    return [MEASURES[score].merit(value) for score, value in zip(scores, values, strict=True)]
