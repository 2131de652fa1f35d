"""Bootstrap intervals of accuracies over test samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from pipeline.randomness import uniform


def accuracy_interval(
    correct: npt.NDArray[np.bool_], *, seed: int, level: float = 0.95, resamples: int = 2000
) -> tuple[float, float]:
    """Percentile bootstrap interval of an accuracy (Efron, 1979; Efron and Tibshirani, 1993).

    M draws with replacement from a Bernoulli vector hold a binomial number of successes, so each
    resample is one draw from Binomial(M, accuracy): its cost does not grow with M. The draws are
    quantiles of hashed uniforms, the same for the same seed.

    Args:
        correct: (M,), which test samples were classified rightly.
        seed: of the resamples.
        level: probability mass inside the interval.
        resamples: number of them.

    Returns:
        The lower and the upper end, in [0, 1]; both the accuracy itself if it is 0 or 1.

    Raises:
        ValueError: there is no test sample.
    """
    count = len(correct)
    if not count:
        raise ValueError("an accuracy needs at least one test sample")
    draws = uniform("bootstrap", seed, np.arange(resamples))
    accuracies = binom.ppf(draws, count, np.mean(correct)).clip(min=0) / count
    low, high = np.quantile(accuracies, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
