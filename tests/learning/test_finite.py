"""A step whose numbers are not finite is found, wherever they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.learning.finite import FiniteGuard, NotFiniteError
from pipeline.learning.learner import StepResult
from pipeline.objectives.base import PairLosses
from pipeline.pairs.weighting import uniform_weights

pytestmark = pytest.mark.fast

NAN, INFINITE = float("nan"), float("inf")


def step(total: float = 1.0, evidence: float = 1.0) -> StepResult:
    losses = PairLosses(
        loss=torch.ones(2, 3),
        evidence=torch.tensor([1.0, evidence, 1.0]),
        projections=torch.ones(2, 3, 4),
    )
    return StepResult(
        total=torch.tensor(total),
        features=torch.ones(2, 3, 4),
        losses=losses,
        weights=uniform_weights(losses),
    )


@pytest.mark.parametrize(
    ("bad", "gradient"),
    [
        (step(total=NAN), 1.0),
        (step(total=INFINITE), 1.0),
        (step(), NAN),
        (step(evidence=NAN), 1.0),
        (step(evidence=-INFINITE), 1.0),
    ],
)
def test_the_first_bad_step_is_told_with_its_samples(bad: StepResult, gradient: float) -> None:
    guard = FiniteGuard(torch.device("cpu"))
    for number, result in enumerate((step(), bad, bad), start=1):
        norm = torch.tensor(gradient if result is bad else 1.0)
        guard.watch(number, result, norm, np.arange(3) + 10 * number)
    with pytest.raises(NotFiniteError) as told:
        guard.check()
    assert told.value.step == 2
    assert told.value.sample_ids == [20, 21, 22]
