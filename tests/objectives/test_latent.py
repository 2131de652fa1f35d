"""MIM, A-MIM and cMIM: values of the specification, identities, and slow references."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.encoders.autoencoders import noise as named
from pipeline.encoders.autoencoders.decoder import Decoded
from pipeline.encoders.autoencoders.latent import log_normal, log_standard_normal
from pipeline.objectives.base import EncodedViews
from pipeline.objectives.cmim import log_probability_own
from tests.objectives.cases import BATCH, OBJECTIVES, build, encoded, noise

pytestmark = pytest.mark.fast


def codes_of(kind: str, count: int) -> Tensor:
    return torch.eye(count).double() if kind == "orthogonal" else torch.ones(count, 4).double()


@pytest.mark.parametrize("count", [2, 5, 64])
@pytest.mark.parametrize(
    ("kind", "temperature", "expected"),
    [
        ("orthogonal", 0.1, -4.53989e-5),
        ("orthogonal", 0.5, -0.126928),
        ("orthogonal", 1.0, -0.313262),
        ("equal", 0.1, -0.6931472),
        ("equal", 1.0, -0.6931472),
    ],
)
def test_log_probabilities_of_known_codes(
    kind: str, temperature: float, expected: float, count: int
) -> None:
    found = log_probability_own(codes_of(kind, count), temperature=temperature)
    assert found.tolist() == pytest.approx([expected] * count, rel=2e-6)


def test_a_sample_alone_is_sure_to_be_itself() -> None:
    z = noise(1, 4).requires_grad_()
    found = log_probability_own(z, temperature=0.1)
    found.sum().backward()
    assert found.tolist() == [0.0]
    assert z.grad is not None
    assert not z.grad.any()


@pytest.mark.parametrize("times", [2, 5])
def test_negatives_are_averaged(times: int) -> None:
    """Each of them several times is as each of them once."""
    anchor, others = noise(1, 6), noise(7, 6, seed=1)
    once = log_probability_own(torch.cat([anchor, others]), temperature=0.3)[0]
    more = log_probability_own(torch.cat([anchor, others.repeat(times, 1)]), temperature=0.3)[0]
    torch.testing.assert_close(once, more)


def test_the_batch_size_does_not_change_the_scale() -> None:
    """Of random codes, D = 16 and tau = 1: -0.32, where a sum over negatives goes to -6.7."""
    means = [log_probability_own(noise(n, 16), temperature=1.0).mean() for n in (16, 256, 2048)]
    assert [float(mean) for mean in means] == pytest.approx([-0.322] * 3, abs=0.003)


@given(
    count=st.integers(2, 9), seed=st.integers(0, 99), temperature=st.sampled_from([0.05, 0.5, 5.0])
)
def test_log_probabilities_are_within_their_bounds(
    count: int, seed: int, temperature: float
) -> None:
    found = log_probability_own(noise(count, 3, seed=seed), temperature=temperature)
    assert (found <= 0).all()
    # One negative at the other end of the sphere lowers none below that of equal codes.
    assert (found >= -math.log(2) - 1e-12).all()


def test_log_probabilities_and_gradients_are_those_of_the_equation() -> None:
    """(1.5) by loops; by similarity the gradient of -log p is P / tau, and pushes alone."""
    tau, z = 0.4, noise(6, 5)
    unit = nn.functional.normalize(z, dim=1)
    s = (unit @ unit.T).requires_grad_()
    slow = []
    for i in range(6):
        others = sum(torch.exp(s[i, j] / tau) for j in range(6) if j != i) / 5
        own = torch.exp(s[i, i].detach() / tau)
        slow.append(torch.log(own / (own + others)))
    found = log_probability_own(z, temperature=tau)
    torch.testing.assert_close(found, torch.stack(slow))
    (-torch.stack(slow)).sum().backward()
    assert s.grad is not None
    push = (1 - found.exp()) / tau
    torch.testing.assert_close(s.grad.fill_diagonal_(0).sum(dim=1), push)
    assert (s.grad >= 0).all()


def made(name: str, **settings: Any) -> Any:
    return build({**OBJECTIVES[name], **settings})


def parts(objective: Any, views: EncodedViews) -> dict[str, Tensor]:
    """What the terms are made of, one view of one sample at a time."""
    codes = objective.codes(views)
    mean, log_scale = codes.posterior
    z = codes.sampled
    found: dict[str, list[Tensor]] = {"log_x": [], "log_q": [], "log_prior": []}
    for v in range(z.shape[0]):
        for b in range(z.shape[1]):
            logits = objective.autoencoder.decoder(z[v, b][None]).output[0]
            x = objective.autoencoder.target(views.samples[v, b][None])[0]
            likely = torch.distributions.Bernoulli(logits=logits, validate_args=False)
            found["log_x"].append(likely.log_prob(x).sum())
            found["log_q"].append(log_normal(z[v, b], mean[v, b], log_scale[v, b]))
            found["log_prior"].append(log_standard_normal(z[v, b]))
    return {name: torch.stack(values).view(z.shape[:2]) for name, values in found.items()}


@pytest.mark.parametrize(("progress", "beta"), [(0.0, 0.0), (0.2, 0.5), (0.9, 1.0)])
def test_a_mim_is_its_equation(progress: float, beta: float) -> None:
    objective = made("a_mim", warm_up=0.4, reconstruction=0.7, latent=0.3)
    views = encoded(noise(2, BATCH, 6), progress=progress)
    p = parts(objective, views)
    half = 0.3 * (beta * p["log_q"] + p["log_prior"]) / 2
    expected = -0.7 * (1 + beta) / 2 * p["log_x"] - half
    torch.testing.assert_close(objective(views).loss, expected)


def test_the_latent_part_of_one_dimension_at_the_origin() -> None:
    """Mean 0, log-scale 0, code 0: 0.9189385 (core.md, appendix A)."""
    zero = torch.zeros(1, dtype=torch.float64)
    found = -0.5 * (log_normal(zero, zero, zero) + log_standard_normal(zero))
    assert float(found) == pytest.approx(0.9189385, abs=1e-7)


@pytest.mark.parametrize(("progress", "beta"), [(0.0, 0.0), (0.2, 0.5), (0.9, 1.0)])
def test_mim_on_data_is_its_equation_with_the_marginal(progress: float, beta: float) -> None:
    """(1.2); with beta 1 the encoder's density cancels, which is the MIM identity."""
    objective = made("mim", warm_up=0.4, likelihood={"kind": "bernoulli"})
    views = encoded(noise(2, BATCH, 6), progress=progress)
    p = parts(objective, views)
    log_marginal = p["log_x"] + p["log_prior"] - p["log_q"]
    half = p["log_x"] + p["log_prior"] + beta * (p["log_q"] + log_marginal)
    loss = objective(views).loss
    torch.testing.assert_close(loss, -half / 2)
    if beta == 1:
        torch.testing.assert_close(loss, -(p["log_x"] + p["log_prior"]))


def test_cmim_is_a_mim_and_the_log_probability() -> None:
    objective = made("cmim", contrast=0.6)
    views = encoded(noise(2, BATCH, 6))
    p, z = parts(objective, views), objective.codes(views).sampled
    own = torch.stack([log_probability_own(view, temperature=0.1) for view in z])
    told = -0.6 * own - (p["log_q"] + p["log_prior"]) / 2
    losses = objective(views)
    torch.testing.assert_close(losses.loss, told - p["log_x"])
    torch.testing.assert_close(losses.evidence, -own.mean(dim=0))
    push = 0.6 * (1 - own.detach().exp()).mean() / 0.1
    assert float(losses.logs["contrast_push"]) == pytest.approx(float(push))
    assert float(losses.logs["contrast"]) == pytest.approx(-float(own.mean().detach()))
    assert float(losses.logs["reconstruction"]) == pytest.approx(-float(p["log_x"].mean().detach()))


def test_codes_are_drawn_by_sample_and_step() -> None:
    objective, views = made("cmim"), encoded(noise(1, BATCH, 6))
    order = torch.arange(BATCH).flip(0)
    assert views.samples is not None
    assert views.sample_id is not None
    turned = replace(
        views,
        features=views.features[:, order],
        samples=views.samples[:, order],
        sample_id=views.sample_id[order],
    )
    drawn = objective.codes(views).sampled
    torch.testing.assert_close(objective.codes(turned).sampled, drawn[:, order])
    later = objective.codes(replace(views, step_seed=views.step_seed + 1)).sampled
    assert not torch.isclose(later, drawn).any()


def test_one_view_is_enough() -> None:
    for name in ("mim", "a_mim", "cmim"):
        losses = made(name)(encoded(noise(1, BATCH, 6)))
        assert losses.loss.shape == (1, BATCH)


def test_the_models_own_samples_begin_after_the_warm_up() -> None:
    objective = made("mim", warm_up=0.4)
    terms = [
        float(own_samples(objective, encoded(noise(1, BATCH, 6), progress=progress)))
        for progress in (0.0, 0.39, 0.4, 0.9)
    ]
    assert [term != 0 for term in terms] == [False, False, True, True]
    assert not made("mim", model_samples=0.0)(encoded(noise(1, BATCH, 6))).terms


def own_samples(objective: Any, views: EncodedViews) -> Tensor:
    term: Tensor = objective(views).terms["model_samples"]
    return term.detach()


class _Pair(nn.Module):
    """Decodes a code to two pixels, so that all images can be listed."""

    layers = 0

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 2)

    def forward(self, codes: Tensor, target: Tensor | None = None) -> Decoded:
        return Decoded(output=self.linear(codes).view(-1, 1, 1, 2), hidden=())


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_score_function_gives_the_gradient_of_the_expectation(reduction: str) -> None:
    """Of discrete samples: their expected loss by listing all images, against many draws."""
    likelihood = {"kind": "bernoulli", "reduction": reduction}
    objective = made("mim", likelihood=likelihood, channels=1)
    torch.manual_seed(1)
    decoder = _Pair().double()
    objective.autoencoder.decoder = decoder
    weights = noise(6, 6)

    def encode(images: Tensor) -> Tensor:
        return images.flatten(1) @ weights

    count = 20_000
    views = EncodedViews(
        features=torch.zeros(1, 1, 6, dtype=torch.float64),
        sample_id=torch.arange(count),
        encode=encode,
    )
    drawn = objective.own_samples_loss(views)
    found = torch.autograd.grad(drawn, decoder.linear.weight)[0]

    z = named.normal("anchor", 0, torch.arange(count), count=5)
    logits = decoder(z).output
    expected = torch.zeros((), dtype=torch.float64)
    for image in torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 2):
        x = image.view(1, 1, 1, 2).expand_as(logits)
        log_x = torch.distributions.Bernoulli(logits=logits).log_prob(x).sum(dim=(1, 2, 3))
        told = log_x if reduction == "sum" else log_x / 2
        q = objective.autoencoder.posterior(encode(x.expand(-1, 3, -1, -1)))
        loss = -told - (q.log_density(z) + log_standard_normal(z)) / 2
        expected = expected + (log_x.exp() * loss).mean()
    exact = torch.autograd.grad(expected, decoder.linear.weight)[0]
    assert float(drawn.detach()) == pytest.approx(float(expected.detach()), rel=0.03)
    torch.testing.assert_close(found, exact, rtol=0.15, atol=0.05 * float(exact.abs().max()))


def test_samples_of_a_density_are_scored_by_the_equation_with_gradient_through_them() -> None:
    """(1.2) at draws of the anchor and of the decoder, one by one; beta is 1 by then."""
    objective = made("mim", likelihood={"kind": "gaussian", "scale": 0.3})
    images = encoded(noise(1, BATCH, 6))
    weights = noise(objective.autoencoder.target(images.samples[0])[0].numel() * 3, 6) / 100
    weights.requires_grad_()

    def encode(samples: Tensor) -> Tensor:
        return samples.flatten(1) @ weights[: samples[0].numel()]

    views = replace(images, encode=encode)
    drawn = objective.own_samples_loss(views)
    ids, seed, autoencoder = views.sample_id, views.step_seed, objective.autoencoder
    z = named.normal("anchor", seed, ids, count=autoencoder.head.width)
    losses = []
    for row in range(BATCH):
        mean = autoencoder.decoder(z[row][None]).output
        u = named.uniform("own sample", seed, ids, count=mean[0].numel())[row].view_as(mean)
        x = mean + 0.3 * torch.special.ndtri(u)
        log_x = torch.distributions.Normal(mean, 0.3).log_prob(x).sum()
        q = autoencoder.posterior(encode(x.expand(-1, 3, -1, -1)))
        log_q = torch.distributions.Normal(q.mean, q.log_scale.exp()).log_prob(z[row]).sum()
        log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z[row]).sum()
        losses.append(-log_x - (log_q + log_prior) / 2)
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(drawn, expected)
    wanted = [weights, autoencoder.decoder.output.weight, autoencoder.head.linear.weight]
    for one, other in zip(
        torch.autograd.grad(drawn, wanted), torch.autograd.grad(expected, wanted), strict=True
    ):
        assert other.abs().sum() > 0
        torch.testing.assert_close(one, other)
