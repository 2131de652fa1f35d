"""What the finished cells of the study of sweeps say of trials, seeds and scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import permutations
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from benchmarks.shared.study import Line, Mean, mean_of
from benchmarks.sweeps.cell import Cell
from benchmarks.sweeps.run import OTHERS, others, pairs, temperatures, trials
from pipeline.sweeps.spaces.scores import MEASURES, Score

NOT_RUN = "Not run yet."
PROBES = {"knn": "kNN", "linear": "linear"}
_DRAWS = 2000
_POWER = 0.4  # of LeJEPA's lambda, from memory


def _measured(score: Score) -> Callable[[Line], float]:
    return lambda line: MEASURES[score].merit(line["panel"][score])


MERITS: dict[str, Callable[[Line], float]] = {
    "RankMe": _measured(Score.rankme),
    "LiDAR": _measured(Score.lidar),
    "α-ReQ": _measured(Score.alpha_req),
    "IdEst": _measured(Score.idest),
    "uniformity": lambda line: line["panel"]["uniformity"],
    "alignment": lambda line: -line["panel"]["alignment"],
    "diffusion entropy": lambda line: line["panel"]["diffusion_entropy"],
}
"""Scores without labels, turned so that more should be better."""

WITH_LABELS: dict[str, Callable[[Line], float]] = {"kNN, with labels": lambda line: line["knn"]}
LOSSES: dict[str, Callable[[Line], float]] = {
    "loss": lambda line: -line["loss"],
    f"loss / λ^{_POWER}": lambda line: -line["loss"] / line["settings"]["sigreg"] ** _POWER,
}
"""LeJEPA's own."""

ALL = "all together"
GROUPS: dict[str, list[Cell]] = {
    "composite": trials(),
    "simclr": [*temperatures(), *pairs()],
    **{name: [cell for cell in others() if cell.objective == name] for name in OTHERS},
    ALL: [*trials(), *temperatures(), *others(), *pairs()],
}
"""Cells that are told on validation, by what their scores are compared within."""


def of_cells(lines: Sequence[Line], cells: Sequence[Cell]) -> list[Line]:
    """Those that are finished, each once, in the order of the cells."""
    names = [field.name for field in fields(Cell)]
    by_key = {Cell(**{name: line[name] for name in names}).key: line for line in lines}
    return [by_key[key] for key in dict.fromkeys(cell.key for cell in cells) if key in by_key]


def missing(cells: Sequence[Cell], own: Sequence[Line]) -> str:
    """A sentence of how many are, if any."""
    wanted = len({cell.key for cell in cells})
    return f" Not run yet: {wanted - len(own)} of {wanted}." if len(own) < wanted else ""


def percent(lines: Sequence[Line], probe: str) -> Mean:
    """Mean accuracy."""
    return mean_of([100 * line[probe] for line in lines])


def gain(mine: Sequence[Line], other: Sequence[Line], probe: str) -> Mean | None:
    """Mean difference, in points, of runs of one seed; None if no seed has both."""
    of_mine, of_other = ({x["seed"]: 100 * x[probe] for x in each} for each in (mine, other))
    both = sorted(of_mine.keys() & of_other.keys())
    return mean_of([of_mine[seed] - of_other[seed] for seed in both]) if both else None


def of_temperature(lines: Sequence[Line], value: float, *, all_seeds: bool = False) -> list[Line]:
    """Cells of SimCLR alone: of the two seeds that every temperature has, or of all."""
    cells = [*temperatures(), *pairs()] if all_seeds else temperatures()
    return of_cells(lines, [cell for cell in cells if cell.settings == {"temperature": value}])


class Correlation(NamedTuple):
    """Spearman's, with a bootstrap interval of 95 %."""

    rho: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.rho):
            return ""
        return f"{self.rho:.2f} ({self.low:.2f} to {self.high:.2f})"


def correlations(
    lines: Sequence[Line], merits: dict[str, Callable[[Line], float]]
) -> dict[str, Correlation]:
    """Of each score with the linear probe.

    Configurations are drawn for the interval, each with all of its seeds. Lines without all scores
    count for none.
    """
    columns = [lambda line: line["linear"], *merits.values()]
    found = np.array([[column(line) for column in columns] for line in lines])
    found = found.reshape(len(lines), len(columns))
    whole = np.isfinite(found).all(axis=1)
    owners = [repr((x["objective"], sorted(x["settings"].items()))) for x in lines]
    rows = [
        np.array([row for row, owner in enumerate(owners) if owner == one and whole[row]], int)
        for one in dict.fromkeys(owners)
    ]
    rows = [own for own in rows if len(own)]
    if len(rows) < 3:
        return {}
    at_once = _spearman(found[np.concatenate(rows)])
    generator = np.random.default_rng(0)
    drawn = np.array(
        [
            _spearman(found[np.concatenate([rows[i] for i in picked])])
            for picked in generator.integers(len(rows), size=(_DRAWS, len(rows)))
        ]
    )
    return {
        name: Correlation(float(rho), *_interval(of_score))
        for name, rho, of_score in zip(merits, at_once, drawn.T, strict=True)
    }


def _interval(drawn: np.ndarray) -> tuple[float, float]:
    """Draws in which all are equal have no correlation, and count for none."""
    found = drawn[np.isfinite(drawn)]
    low, high = np.percentile(found, (2.5, 97.5)) if len(found) else (math.nan, math.nan)
    return float(low), float(high)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's; NaN if either is constant."""
    return float(_spearman(np.column_stack([one, other]))[0])


def _spearman(columns: np.ndarray) -> np.ndarray:
    """Of the first column with each other one."""
    ranks = rankdata(columns, axis=0)
    ranks -= ranks.mean(axis=0)
    lengths = np.sqrt((ranks**2).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        rhos: np.ndarray = (ranks[:, 1:] * ranks[:, :1]).sum(axis=0) / (lengths[1:] * lengths[0])
    return rhos.round(12)  # a tie with a goal is to stay one


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """How far the differences between two settings scatter over seeds, in points."""

    difference: Mean
    paired: float
    """Standard deviation of differences between runs of one seed."""
    unpaired: float
    """Of differences between runs of different seeds: the root of both settings' variances."""
    by_chance: float
    """Of all ways to pair the seeds, the share whose differences scatter as little."""

    @property
    def ratio(self) -> float:
        """Of the variances."""
        return self.paired**2 / self.unpaired**2


def pairing(mine: Sequence[Line], other: Sequence[Line], probe: str) -> Pairing | None:
    """Of runs of the same seeds; None with fewer than three."""
    of_mine, of_other = ({x["seed"]: 100 * x[probe] for x in each} for each in (mine, other))
    seeds = sorted(of_mine.keys() & of_other.keys())
    if len(seeds) < 3:
        return None
    ours, theirs = (np.array([each[seed] for seed in seeds]) for each in (of_mine, of_other))
    ways = theirs[np.array(list(permutations(range(len(seeds)))))]
    variances = (ours - ways).var(axis=1, ddof=1)
    return Pairing(
        difference=mean_of(list(ours - theirs)),
        paired=float(variances[0] ** 0.5),
        unpaired=float((ours.var(ddof=1) + theirs.var(ddof=1)) ** 0.5),
        by_chance=float((variances <= variances[0] + 1e-9).mean()),
    )


def seeds_needed(deviation: float, difference: float) -> int | None:
    """Until a difference is two standard errors long; None if there is none."""
    if abs(difference) < 1e-9:
        return None
    return max(2, math.ceil((2 * deviation / difference) ** 2 - 1e-9))
