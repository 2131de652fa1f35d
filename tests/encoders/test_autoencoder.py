"""Decoders and likelihoods against torch's distributions and what their shapes promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal

from pipeline.encoders.autoencoders.autoencoder import Autoencoder, build_autoencoder
from pipeline.encoders.autoencoders.latent import LatentHead, Posterior, log_standard_normal
from pipeline.encoders.autoencoders.likelihood import Bernoulli, Gaussian
from pipeline.encoders.configs.autoencoder import AutoencoderConfig
from pipeline.errors import UserError

pytestmark = pytest.mark.fast

CONV = {"kind": "conv", "channels": [16, 8]}
PATCHES = {"kind": "patches", "patch": 4, "width": 8, "depth": 3, "heads": 2}


def built(decoder: dict[str, Any], *, size: int = 12, **settings: Any) -> Autoencoder:
    torch.manual_seed(0)
    config = AutoencoderConfig.model_validate({"width": 5, "decoder": decoder, **settings})
    return build_autoencoder(config, feature_width=7, size=size).double()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("decoder", [CONV, PATCHES], ids=["conv", "patches"])
def test_images_and_hidden_layers_have_their_shapes(decoder: dict[str, Any], channels: int) -> None:
    model = built(decoder, channels=channels)
    decoded = model.decode(normal(4, 5))
    assert decoded.output.shape == (4, channels, 12, 12)
    assert len(decoded.hidden) == model.decoder.layers
    shapes = [hidden.shape for hidden in decoded.hidden]
    by_kind = {"conv": [(4, 36, 16), (4, 144, 8)], "patches": [(4, 9, 8)] * 3}
    assert shapes == by_kind[decoder["kind"]]
    assert model.target(torch.rand(4, 3, 12, 12)).shape == decoded.output.shape


@pytest.mark.parametrize("decoder", [CONV, PATCHES], ids=["conv", "patches"])
def test_an_image_does_not_depend_on_its_batch(decoder: dict[str, Any]) -> None:
    model, codes = built(decoder), normal(4, 5)
    alone = torch.cat([model.decode(code[None]).output for code in codes])
    torch.testing.assert_close(model.decode(codes).output, alone)


def test_patches_lie_where_their_tokens_do() -> None:
    """The output's weights for one pixel of a patch move that pixel of all patches."""
    model = built(PATCHES)
    codes = normal(2, 5)
    before = model.decode(codes).output
    with torch.no_grad():
        model.decoder.output.bias[1 * 16 + 2 * 4 + 3] += 1  # channel 1, row 2, column 3
    moved = model.decode(codes).output - before
    expected = torch.zeros(2, 3, 12, 12, dtype=torch.float64)
    expected[:, 1, 2::4, 3::4] = 1
    torch.testing.assert_close(moved, expected)


@pytest.mark.parametrize(
    ("decoder", "where"), [({"kind": "conv", "channels": [16] * 4}, "channels"), (PATCHES, "patch")]
)
def test_a_side_that_does_not_fit_is_refused(decoder: dict[str, Any], where: str) -> None:
    with pytest.raises(UserError, match=f"objective.decoder.{where}: .*views.size 30"):
        built(decoder, size=30)


def test_a_kind_alone_stands_for_its_defaults() -> None:
    config = AutoencoderConfig.model_validate({"decoder": "patches", "likelihood": "gaussian"})
    assert (config.decoder.kind, config.likelihood) == ("patches", Gaussian(kind="gaussian"))
    with pytest.raises(ValidationError, match="no multiple of its 3 heads"):
        AutoencoderConfig.model_validate({"decoder": {"kind": "patches", "heads": 3}})


def test_densities_are_those_of_torch() -> None:
    mean, log_scale, codes = normal(3, 4, 5), normal(3, 4, 5, seed=1), normal(3, 4, 5, seed=2)
    found = Posterior(mean, log_scale).log_density(codes)
    torch.testing.assert_close(found, Normal(mean, log_scale.exp()).log_prob(codes).sum(-1))
    torch.testing.assert_close(log_standard_normal(codes), Normal(0, 1).log_prob(codes).sum(-1))


def test_likelihoods_are_those_of_torch() -> None:
    output, target = normal(3, 2, 4, 4), normal(3, 2, 4, 4, seed=1).sigmoid()
    bernoulli = TorchBernoulli(logits=output, validate_args=False).log_prob(target)
    gaussian = Normal(output, 0.3).log_prob(target)
    for likelihood, expected in ((Bernoulli, bernoulli), (Gaussian, gaussian)):
        settings = {"kind": "gaussian", "scale": 0.3} if likelihood is Gaussian else {}
        found = likelihood(**settings).negative_log(output, target)
        torch.testing.assert_close(found, -expected.sum((1, 2, 3)))
        mean = likelihood(**settings, reduction="mean").negative_log(output, target)
        torch.testing.assert_close(mean, found / 32)


def test_likelihoods_compute_in_single_precision_at_least() -> None:
    output, target = normal(3, 8).bfloat16(), normal(3, 8).sigmoid().float()
    for likelihood in (Bernoulli(), Gaussian(kind="gaussian", scale=0.001)):
        assert likelihood.negative_log(output, target).dtype == torch.float32
        assert likelihood.negative_log(output, target).isfinite().all()


def test_a_likelihood_of_other_shapes_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"output \(2, 1, 4, 4\) for samples \(2, 3, 4, 4\)"):
        Bernoulli().negative_log(torch.zeros(2, 1, 4, 4), torch.zeros(2, 3, 4, 4))


def test_samples_have_the_means_that_the_output_says() -> None:
    output = normal(1, 6).expand(20_000, 6)
    uniform = torch.rand(20_000, 6, generator=torch.Generator().manual_seed(0)).double()
    for likelihood in (Bernoulli(), Gaussian(kind="gaussian", scale=0.5)):
        drawn = likelihood.sample(output, uniform)
        error = drawn.std(0) / 20_000**0.5
        assert ((drawn.mean(0) - likelihood.mean(output)[0]).abs() < 4 * error).all()
    assert set(Bernoulli().sample(output, uniform).unique().tolist()) == {0.0, 1.0}


def test_the_log_scale_has_a_floor() -> None:
    head = LatentHead(feature_width=3, width=2, log_scale_least=-6.0)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.copy_(torch.tensor([0.0, 0.0, -50.0, 1.0]))
    assert head(torch.zeros(1, 3)).log_scale.tolist() == [[-6.0, 1.0]]
