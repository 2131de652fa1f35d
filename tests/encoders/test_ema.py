"""The EMA twin: where it starts, how it follows, what it leaves alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pipeline.encoders.batch_norm import globalise_batch_norm
from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.ema import EMATwin
from pipeline.objectives.configs.ijepa import IJEPAConfig

pytestmark = pytest.mark.fast


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def test_the_momentum_is_byols_schedule() -> None:
    config = EMAConfig(start=0.996, end=1.0)
    assert [config.momentum(share) for share in (0.0, 0.5, 1.0)] == pytest.approx(
        [0.996, 0.998, 1.0]
    )
    assert config.momentum(0.25) == pytest.approx(
        1 - (1 - 0.996) * (math.cos(math.pi * 0.25) + 1) / 2
    )
    assert EMAConfig(start=0.99).momentum(0.3) == 0.99


def test_a_twin_starts_equal_and_moves_a_share_of_the_way() -> None:
    online = module()
    twin = EMATwin(online)
    before = [weight.clone() for weight in twin.parameters()]
    for weight, copy in zip(online.parameters(), before, strict=True):
        assert torch.equal(weight, copy)
    with torch.no_grad():
        for weight in online.parameters():
            weight += 1
    twin.follow(online, 0.75)
    for weight, start in zip(twin.parameters(), before, strict=True):
        torch.testing.assert_close(weight, start + 0.25)


def test_a_twin_gives_no_gradient_and_gets_none() -> None:
    twin = EMATwin(module())
    inputs = torch.randn(5, 3, requires_grad=True)
    assert not twin(inputs).requires_grad
    assert not any(weight.requires_grad for weight in twin.parameters())


def test_a_twin_is_without_noise_but_normalises_by_the_batch() -> None:
    online = module()
    twin = EMATwin(online).train()
    inputs = torch.randn(5, 3)
    assert torch.equal(twin(inputs), twin(inputs))
    normalised = twin.module[1](twin.module[0](inputs))
    torch.testing.assert_close(normalised.mean(dim=0), torch.zeros(4), atol=1e-6, rtol=0)
    assert int(twin.module[1].num_batches_tracked) == 3
    assert int(online[1].num_batches_tracked) == 0


def test_an_evaluated_twin_keeps_its_running_statistics() -> None:
    twin = EMATwin(module()).eval()
    twin(torch.randn(5, 3))
    assert int(twin.module[1].num_batches_tracked) == 0


def test_global_batch_normalisation_reaches_the_twin() -> None:
    twin = EMATwin(module())
    globalise_batch_norm(twin)
    assert type(twin.module[1]).__name__ == "GlobalBatchNorm"
    assert twin.train().module[1].training
    assert not any(weight.requires_grad for weight in twin.parameters())


def test_a_twin_that_never_moves_is_refused() -> None:
    with pytest.raises(ValueError, match="never moves"):
        EMAConfig(start=1.0)


def test_a_section_that_says_some_settings_leaves_the_others_at_the_objectives() -> None:
    config = IJEPAConfig.model_validate({"kind": "ijepa", "ema": {"start": 0.9}})
    assert config.ema == EMAConfig(start=0.9, end=1.0, schedule="linear")
    fixed = IJEPAConfig.model_validate({"kind": "ijepa", "ema": 0.9})
    assert fixed.ema == EMAConfig(start=0.9)
