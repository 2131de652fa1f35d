"""Rates, decay and momentum as functions of the step."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from pydantic import ValidationError

from pipeline.encoders.configs.ema import EMAConfig
from pipeline.learning.config import OptimizerConfig
from pipeline.learning.learner import LearnerBatch, build_learner
from pipeline.learning.optimization import Optimization, build_optimizer
from pipeline.learning.schedules import learning_rate, weight_decay
from pipeline.objectives.configs.ijepa import IJEPAConfig
from pipeline.recipe import Recipe

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


IJEPA = {
    "lr": 1e-3,
    "lr_start": 2e-4,
    "lr_end": 1e-6,
    "warmup": 0.1,
    "weight_decay": 0.04,
    "weight_decay_end": 0.4,
}
"""The schedules of I-JEPA's official recipe."""


def test_rates_and_decay_of_ijepa_at_the_start_the_middle_and_the_end() -> None:
    config = OptimizerConfig.model_validate(IJEPA)
    steps = (0, 50, 100, 550, 1000)
    rates = [learning_rate(config, step=step, total_steps=1000) for step in steps]
    assert rates == pytest.approx([2e-4, 6e-4, 1e-3, (1e-3 + 1e-6) / 2, 1e-6])
    decays = [weight_decay(config, progress=progress) for progress in (0, 0.5, 1)]
    assert decays == pytest.approx([0.04, 0.22, 0.4])
    momenta = [IJEPAConfig(kind="ijepa").ema.momentum(progress) for progress in (0, 0.5, 1)]
    assert momenta == pytest.approx([0.996, 0.998, 1.0])


def test_the_momentum_of_ijepa_rises_in_equal_parts_and_byols_by_half_a_cosine() -> None:
    linear = EMAConfig(start=0.996, end=1.0, schedule="linear").momentum(0.25)
    cosine = EMAConfig(start=0.996, end=1.0).momentum(0.25)
    assert linear == pytest.approx(0.997)
    assert cosine == pytest.approx(1 - 0.004 * (math.cos(math.pi / 4) + 1) / 2)


@pytest.mark.parametrize("start", [0.0, 0.04])
def test_decay_that_changes_reaches_matrices_alone(start: float) -> None:
    recipe = Recipe.model_validate(
        {
            "data": {"shards": "unused"},
            "encoder": {"name": "resnet10t"},
            "train": {
                "epochs": 1,
                "optimizer": {"weight_decay": start, "weight_decay_end": 0.4, "lr": 1e-6},
            },
        }
    )
    optimization = Optimization(
        build_learner(recipe),
        config=recipe.train,
        seed=0,
        total_steps=4,
        device=torch.device("cpu"),
    )
    views = (torch.zeros(2, 2, 32, 32, 3, dtype=torch.uint8),)
    for step in range(4):
        optimization.step(LearnerBatch(sample_id=torch.arange(2), views=views))
        groups = optimization.state_dict()["optimizer"]["param_groups"]
        expected = weight_decay(recipe.train.optimizer, progress=step / 4)
        assert {(g["decayed"], g["weight_decay"]) for g in groups} == {(True, expected), (False, 0)}


def test_positions_and_class_tokens_are_not_decayed() -> None:
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=1
    )
    holder = torch.nn.ModuleDict({"encoder": model})
    groups = build_optimizer(OptimizerConfig(weight_decay=0.1), holder).param_groups
    free = {id(w) for group in groups if group["weight_decay"] == 0 for w in group["params"]}
    assert {id(model.pos_embed), id(model.cls_token)} <= free
    assert id(model.blocks[0].mlp.fc1.weight) not in free


def test_a_rate_that_is_above_its_peak_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"lr must be the peak.*lr = 0.001.*lr_end = 0.1"):
        OptimizerConfig(lr=1e-3, lr_end=0.1)
