"""Temperatures that stay, move on a schedule, or are learnt within bounds."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from pipeline.objectives.configs.temperature import TemperatureConfig
from pipeline.objectives.parts.temperature import Temperature

pytestmark = pytest.mark.fast


def test_a_number_is_a_fixed_temperature() -> None:
    config = TemperatureConfig.model_validate(0.3)
    assert config.model_dump() == 0.3
    temperature = Temperature(config)
    assert temperature(0.0) == temperature(0.7) == 0.3
    assert not list(temperature.parameters())


def test_a_schedule_is_half_a_cosine() -> None:
    temperature = Temperature(TemperatureConfig(start=0.5, end=0.1))
    assert [temperature(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([0.5, 0.3, 0.1])
    assert temperature(0.25) == pytest.approx(0.1 + 0.4 * (1 + math.cos(math.pi / 4)) / 2)


def test_a_learnt_temperature_follows_its_gradient_and_keeps_to_its_bounds() -> None:
    temperature = Temperature(TemperatureConfig(start=0.5, learnable=True, least=0.1, most=0.6))
    (weight,) = temperature.parameters()
    assert weight.ndim == 0  # so that it is not decayed
    value = temperature(0.3)
    assert value.detach().item() == pytest.approx(0.5)
    value.backward()
    assert weight.grad is not None
    assert float(weight.grad) == pytest.approx(0.5)
    for pushed, kept in ((-9.0, 0.1), (9.0, 0.6)):
        with torch.no_grad():
            weight.fill_(pushed)
        temperature.clamp()
        assert temperature(0.3).detach().item() == pytest.approx(kept)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "greater than 0"),
        (-0.1, "greater than 0"),
        (math.inf, "finite"),
        (math.nan, "greater than 0 and finite"),
        (True, "should be a number"),
        ("warm", "should be a number"),
        ({"start": 0.2, "end": 0}, "greater than 0"),
        ({"start": 0.2, "end": 0.1, "learnable": True}, "has no end"),
        ({"start": 2, "learnable": True}, "is not between"),
        ({"start": 0.2, "most": 0.5}, "bounds are of a learnable"),
    ],
)
def test_what_is_no_temperature_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TemperatureConfig.model_validate(value)
