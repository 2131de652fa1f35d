"""Figures with their intervals: what another test set of the same size might give."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

Values = npt.NDArray[np.float64]
Weights = npt.NDArray[np.int64]
Statistic = Callable[[Weights], float]

_LEVEL = 0.95
_RESAMPLES = 1000
_HALF_SAMPLES = 100


class Estimate(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_estimate(statistic: Statistic, count: int, *, seed: int) -> Estimate:
    """Percentile bootstrap over test samples (Efron, 1979).

    Args:
        statistic: from how often each test sample counts, (M,) int64, to the figure; NaN where it
            has none, which leaves that resample out.
        count: M, at least 1.
        seed: of the resamples.
    """
    generator = np.random.default_rng(seed)
    drawn = [
        statistic(np.bincount(generator.integers(0, count, count), minlength=count))
        for _ in range(_RESAMPLES)
    ]
    value = statistic(np.ones(count, dtype=np.int64))
    finite = [figure for figure in drawn if math.isfinite(figure)] or [value]
    low, high = np.quantile(finite, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))


def mean_estimate(values: Values, *, seed: int) -> Estimate:
    """The mean of a figure that each test sample has, by the bootstrap.

    Args:
        values: (M,), M > 0.
        seed: of the resamples.
    """
    return bootstrap_estimate(
        lambda weights: float(weights @ values) / len(values), len(values), seed=seed
    )


def half_sample_estimate(
    statistic: Statistic, count: int, *, seed: int, other_variance: float = 0.0
) -> Estimate:
    """A figure that samples drawn twice would distort, by halves of the test samples.

    Half of them, drawn without replacement, gives a figure about whose mean it varies as that of
    all samples does about the truth (the delete-half jackknife: Shao and Wu, A General Theory for
    Jackknife Variance Estimation, 1989). Pairs of a sample with itself, which a bootstrap makes,
    would count as agreement in clusterings, and as good company in rankings.

    Args:
        statistic: as of `bootstrap_estimate`; weights are 0 and 1.
        count: M, at least 1.
        seed: of the halves.
        other_variance: of the figure, that has nothing to do with the test samples.

    Returns:
        The figure of all samples, and it less and plus 1.96 standard errors, but never above 1,
        which is the best of all of them.
    """
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(_HALF_SAMPLES):
        weights = np.zeros(count, dtype=np.int64)
        weights[generator.permutation(count)[: math.ceil(count / 2)]] = 1
        drawn.append(statistic(weights))
    value = statistic(np.ones(count, dtype=np.int64))
    finite = [figure for figure in drawn if math.isfinite(figure)] or [value]
    margin = norm.ppf((1 + _LEVEL) / 2) * math.sqrt(np.var(finite) + other_variance)
    return Estimate(float(value), float(value - margin), float(min(1.0, value + margin)))


def repeated_estimate(figures: Values) -> Estimate:
    """The mean of independent repetitions, with Student's interval of it.

    Args:
        figures: (R,), R > 1.
    """
    value = float(np.mean(figures))
    error = float(np.std(figures, ddof=1)) / math.sqrt(len(figures))
    margin = float(t.ppf((1 + _LEVEL) / 2, len(figures) - 1)) * error
    return Estimate(value, value - margin, value + margin)


def estimates_as_json(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, Any]]:
    """Estimates as results hold them: `tasks` {name: value}, `task_intervals` {name: [low, high]}.

    They stand beside the `probes` and `intervals` of accuracies.
    """
    return {
        "tasks": {name: estimate.value for name, estimate in estimates.items()},
        "task_intervals": {
            name: [estimate.low, estimate.high] for name, estimate in estimates.items()
        },
    }
