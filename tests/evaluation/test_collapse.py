"""The signs of collapse against float64 references, and what the alarm makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.evaluation.collapse import CollapseAlarm, collapse_signs, deviation, rank, spread

pytestmark = pytest.mark.fast


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (2, 3)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_signs_equal_float64_references(shape: tuple[int, int], scale: float) -> None:
    z = (noise(*shape) + noise(shape[1], seed=1)) * scale
    exact = z.double().numpy()
    unit = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(np.cov(exact.T))
    distances = ((unit - unit.mean(0)) ** 2).sum(1)
    assert float(spread(z)) == pytest.approx(np.sqrt(distances.mean()), rel=1e-5)
    assert float(deviation(z)) == pytest.approx(np.sqrt(exact.var(0).mean()), rel=1e-5)
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert float(rank(z)) == pytest.approx(expected, rel=1e-4)


def test_closed_forms() -> None:
    corners = torch.cat([torch.eye(6), -torch.eye(6)])
    assert float(rank(corners)) == pytest.approx(6)
    assert float(spread(corners)) == pytest.approx(1)
    line = torch.linspace(-1, 1, 9)[:, None] * torch.tensor([[3.0, 4.0]])
    assert float(rank(line)) == pytest.approx(1)
    equal = torch.ones(5, 3)
    assert [float(sign(equal)) for sign in (rank, spread, deviation)] == [1, 0, 0]
    assert float(rank(torch.zeros(5, 3))) == 1


def test_signs_do_not_depend_on_half_precision_of_products() -> None:
    z = noise(64, 16)
    with torch.autocast("cpu", torch.bfloat16):
        signs = collapse_signs(z.bfloat16(), z)
    assert signs["projection_rank"] == rank(z)
    assert signs["feature_rank"] == rank(z.bfloat16().float())


HEALTHY = {
    f"{whose}_{sort}": value
    for whose in ("feature", "projection")
    for sort, value in (("rank", 4.0), ("spread", 0.8), ("deviation", 0.1))
}


def said_after(*changes: dict[str, float], alarm: CollapseAlarm | None = None) -> list[str]:
    """What an alarm says in all while it looks at each state twenty times."""
    alarm = alarm or CollapseAlarm()
    return [line for change in changes for _ in range(20) for line in alarm.look(HEALTHY | change)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"feature_rank": 1.3}, "dimensional collapse: feature_rank is 1.3, it was 4"),
        ({"projection_rank": 1.0}, "dimensional collapse: projection_rank is 1, it was 4"),
        ({"feature_spread": 0.01}, "complete collapse: feature_spread is 0.01, it was 0.8"),
        (
            {"projection_deviation": 0.01},
            "complete collapse: projection_deviation is 0.01, it was 0.1",
        ),
    ],
)
def test_each_collapse_is_said_once(change: dict[str, float], said: str) -> None:
    assert said_after({}, change, {}, change) == [said]


def test_ten_looks_are_needed() -> None:
    alarm = CollapseAlarm()
    assert said_after({}, alarm=alarm) == []
    collapsed = HEALTHY | {"feature_spread": 0.0}
    assert [bool(alarm.look(collapsed)) for _ in range(10)].index(True) == 9


@pytest.mark.parametrize(
    "changes",
    [
        [{}],
        [{"feature_rank": 1.2}, {"feature_rank": 1.15}],  # an untrained encoder, slow to begin
        [{"feature_rank": 1.2}, {"feature_rank": 9.0}],
        [{"projection_rank": 30.0}, {"projection_rank": 2.6}],
        [{"feature_deviation": 1.0}, {"feature_deviation": 0.3}],
        [{"feature_rank": 1.0, "feature_spread": 0.0, "feature_deviation": 0.0}],
    ],
)
def test_what_is_no_collapse(changes: list[dict[str, float]]) -> None:
    assert said_after(*changes) == []


def test_a_resumed_alarm_says_what_an_undisturbed_one_does() -> None:
    values = np.geomspace(4.0, 1.0, 60)
    states = [HEALTHY | {"feature_rank": float(value)} for value in values]
    whole = CollapseAlarm()
    expected = [whole.look(state) for state in states]
    assert sum(map(len, expected)) == 1
    for stop in (0, 5, 30, 59):
        first, second = CollapseAlarm(), CollapseAlarm()
        said = [first.look(state) for state in states[:stop]]
        second.load_state_dict(first.state_dict())
        assert said + [second.look(state) for state in states[stop:]] == expected
