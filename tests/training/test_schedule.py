"""The learning rate: linear warm-up, then half a cosine."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.training.config import OptimizerConfig
from pipeline.training.optimization import build_optimizer, learning_rate

pytestmark = pytest.mark.fast


def rate(step: int, *, total: int = 1000, warmup: float = 0.1) -> float:
    return learning_rate(OptimizerConfig(lr=0.8, warmup=warmup), step=step, total_steps=total)


def test_it_rises_in_equal_parts_to_the_peak() -> None:
    assert rate(0) == pytest.approx(0.8 / 101)
    assert rate(49) == pytest.approx(0.8 * 50 / 101)
    assert rate(99) == pytest.approx(0.8 * 100 / 101)
    assert rate(100) == 0.8


def test_it_falls_by_half_a_cosine_to_almost_nothing() -> None:
    assert rate(325) == pytest.approx(0.8 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert rate(550) == pytest.approx(0.4)
    assert rate(999) == pytest.approx(0.8 * 0.5 * (1 - math.cos(math.pi / 900)))
    assert 0 < rate(999) < 1e-5


def test_it_has_one_peak() -> None:
    rates = [rate(step) for step in range(1000)]
    assert rates.index(max(rates)) == 100
    assert rates[:101] == sorted(rates[:101])
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_without_warm_up_it_begins_at_the_peak() -> None:
    assert rate(0, warmup=0) == 0.8
    assert rate(500, warmup=0) == pytest.approx(0.4)


@pytest.mark.parametrize("total", [1, 2, 3, 10])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
def test_it_is_above_zero_at_every_step_of_a_short_run(total: int, warmup: float) -> None:
    rates = [rate(step, total=total, warmup=warmup) for step in range(total)]
    assert all(0 < value <= 0.8 for value in rates)


def test_it_is_a_pure_function_of_the_step() -> None:
    forwards = [rate(step) for step in range(1000)]
    assert [rate(step) for step in reversed(range(1000))] == forwards[::-1]


@pytest.mark.parametrize("kind", ["adamw", "sgd", "lars", "lamb"])
def test_only_matrices_are_decayed(kind: str) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    module.register_parameter("temperature", torch.nn.Parameter(torch.tensor(0.1)))
    config = OptimizerConfig.model_validate({"kind": kind, "weight_decay": 0.3})
    decay = {
        id(parameter): group["weight_decay"]
        for group in build_optimizer(config, module).param_groups
        for parameter in group["params"]
    }
    found = {name: decay[id(parameter)] for name, parameter in module.named_parameters()}
    assert found == {
        "0.weight": 0.3,
        "0.bias": 0,
        "1.weight": 0,
        "1.bias": 0,
        "temperature": 0,
    }


def test_some_parameters_keep_their_peak_rate() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    kept = list(module[1].parameters())
    groups = build_optimizer(OptimizerConfig(), module, constant_rate=kept).param_groups
    constant = [p for group in groups if group["constant_rate"] for p in group["params"]]
    others = [p for group in groups if not group["constant_rate"] for p in group["params"]]
    assert set(map(id, constant)) == set(map(id, kept))
    assert set(map(id, others)) == set(map(id, module[0].parameters()))


def test_lamb_clips_no_more_than_the_others() -> None:
    optimizer = build_optimizer(OptimizerConfig(kind="lamb"), torch.nn.Linear(3, 4))
    assert optimizer.defaults["max_grad_norm"] is None
