"""Bootstrap intervals against scipy's, and how often they hold the true accuracy."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import bootstrap

from pipeline.evaluation.probes.bootstrap import accuracy_interval
from pipeline.evaluation.probes.score import (
    Score,
    score_of,
    scores_as_json,
    scores_from_json,
)

pytestmark = pytest.mark.fast


def correct(count: int, right: int) -> np.ndarray:
    return np.arange(count) < right


@pytest.mark.parametrize(("count", "right"), [(1000, 959), (500, 250), (60, 7)])
@pytest.mark.parametrize("level", [0.95, 0.68])
def test_equals_scipys_percentile_bootstrap(count: int, right: int, level: float) -> None:
    low, high = accuracy_interval(correct(count, right), seed=0, level=level)
    reference = bootstrap(
        (correct(count, right).astype(float),),
        np.mean,
        confidence_level=level,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    # Both are quantiles of finitely many draws, which lie on multiples of 1 / count.
    near = 2 / count + 0.1 * (high - low)
    assert low == pytest.approx(reference.low, abs=near)
    assert high == pytest.approx(reference.high, abs=near)
    assert low < right / count < high


def test_intervals_hold_the_true_accuracy_as_often_as_they_say() -> None:
    truth, sets = 0.8, 400
    generator = np.random.default_rng(0)
    held = 0
    for seed in range(sets):
        low, high = accuracy_interval(generator.random(300) < truth, seed=seed)
        held += low <= truth <= high
    assert 0.92 <= held / sets <= 0.98


def test_the_order_of_samples_does_not_matter_and_the_seed_names_the_draws() -> None:
    forwards = correct(333, 200)
    assert accuracy_interval(forwards, seed=3) == accuracy_interval(forwards[::-1], seed=3)
    fewer = {"resamples": 50}
    ends = {accuracy_interval(forwards, seed=seed, **fewer) for seed in range(5)}
    assert len(ends) > 1


@pytest.mark.parametrize("count", [1, 50])
def test_all_right_and_all_wrong_have_no_width(count: int) -> None:
    assert accuracy_interval(correct(count, count), seed=0) == (1.0, 1.0)
    assert accuracy_interval(correct(count, 0), seed=0) == (0.0, 0.0)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one test sample"):
        accuracy_interval(correct(0, 0), seed=0)


def test_twenty_thousand_samples_take_no_longer() -> None:
    start = time.process_time()
    low, high = accuracy_interval(correct(20_000, 18_000), seed=0)
    assert time.process_time() - start < 1
    assert (low, high) == pytest.approx((0.89584, 0.90416), abs=3e-4)


def test_a_score_reads_and_travels_as_plain_values() -> None:
    score = score_of(correct(1000, 959), seed=0)
    assert str(Score(0.959, 0.9461, 0.9709)) == "0.959 [0.946, 0.971]"
    plain = scores_as_json({"knn": score})
    assert plain == {"probes": {"knn": 0.959}, "intervals": {"knn": [score.low, score.high]}}
    numbers = [plain["probes"]["knn"], *plain["intervals"]["knn"]]
    assert {type(number) for number in numbers} == {float}
    assert scores_from_json(plain) == {"knn": score}
