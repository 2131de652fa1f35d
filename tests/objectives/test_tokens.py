"""The seam for sequences: an autoregressive decoder with teacher forcing behind the interfaces."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.encoders.autoencoders.decoder import Decoded, Decoder
from pipeline.encoders.autoencoders.latent import LatentHead
from pipeline.objectives.base import EncodedViews
from pipeline.objectives.cmim import CMIM
from pipeline.objectives.configs.cmim import CMIMConfig
from tests.objectives.cases import noise, total

pytestmark = pytest.mark.fast

TOKENS, LENGTH, WIDTH, CODE, BATCH = 5, 6, 24, 8, 32


class TokenDecoder(Decoder):
    """A GRU that is given the code with every token, as in SentenceMIM."""

    layers = 1

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(TOKENS + 1, WIDTH)  # the last one stands before a sequence
        self.cell = nn.GRU(WIDTH + CODE, WIDTH, batch_first=True)
        self.output = nn.Linear(WIDTH, TOKENS)

    def forward(self, codes: Tensor, target: Tensor | None = None) -> Decoded:
        assert target is not None
        begin = torch.full_like(target[:, :1], TOKENS)
        before = self.embed(torch.cat([begin, target[:, :-1]], dim=1))
        with_code = torch.cat([before, codes[:, None].expand(-1, target.shape[1], -1)], dim=2)
        hidden, _ = self.cell(with_code)
        return Decoded(output=self.output(hidden), hidden=(hidden,))


class Categorical:
    """Tokens, the output being their logits (B, T, K)."""

    differentiable = False

    def negative_log(self, output: Tensor, target: Tensor) -> Tensor:
        return (
            F.cross_entropy(output.flatten(0, 1), target.flatten(), reduction="none")
            .view(target.shape)
            .sum(dim=1)
        )

    def mean(self, output: Tensor) -> Tensor:
        return output.softmax(dim=-1)

    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        raise NotImplementedError


def model() -> CMIM:
    torch.manual_seed(0)
    autoencoder = Autoencoder(
        head=LatentHead(feature_width=LENGTH * TOKENS, width=CODE, log_scale_least=-6.0),
        decoder=TokenDecoder(),
        likelihood=Categorical(),
    )
    config = CMIMConfig(kind="cmim")
    return CMIM(config=config, autoencoder=autoencoder, feature_width=LENGTH * TOKENS).double()


def sequences(count: int = BATCH) -> Tensor:
    return torch.randint(TOKENS, (count, LENGTH), generator=torch.Generator().manual_seed(0))


def views(tokens: Tensor) -> EncodedViews:
    """Encoded by counting: each place's token as one of K."""
    features = F.one_hot(tokens, TOKENS).flatten(1).double()
    return EncodedViews(
        features=features[None],
        global_views=1,
        samples=tokens[None],
        sample_id=torch.arange(len(tokens)),
    )


def test_the_likelihood_of_a_sequence_is_the_product_of_its_steps() -> None:
    autoencoder, tokens, codes = model().autoencoder, sequences(3), noise(3, CODE)
    slow = torch.zeros(3, dtype=torch.float64)
    for place in range(LENGTH):
        # Whatever stands from here on has no say.
        prefix = torch.cat([tokens[:, :place], torch.zeros_like(tokens[:, place:])], dim=1)
        log_p = autoencoder.decode(codes, prefix).output[:, place].log_softmax(dim=1)
        slow -= log_p.gather(1, tokens[:, place, None])[:, 0]
    torch.testing.assert_close(autoencoder.reconstruction_loss(codes, tokens), slow)


def test_hidden_layers_know_only_what_came_before() -> None:
    autoencoder, tokens, codes = model().autoencoder, sequences(1), noise(1, CODE)
    other = tokens.clone()
    other[:, 3] = (other[:, 3] + 1) % TOKENS
    (found,), (moved,) = (autoencoder.decode(codes, t).hidden for t in (tokens, other))
    same = torch.isclose(found, moved).all(dim=2)[0]
    assert same.tolist() == [True] * 4 + [False] * 2


def test_cmim_learns_sequences() -> None:
    objective, batch = model(), views(sequences())
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.01)
    losses = []
    for step in range(150):
        losses.append(objective(replace(batch, step_seed=step)))
        optimizer.zero_grad()
        total(losses[-1]).backward()
        optimizer.step()
    first, last = (float(found.logs["reconstruction"]) for found in (losses[0], losses[-1]))
    assert first == pytest.approx(LENGTH * torch.tensor(float(TOKENS)).log().item(), rel=0.1)
    assert last < first / 4
