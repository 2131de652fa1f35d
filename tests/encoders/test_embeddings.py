"""Embeddings against what one computes by hand from the autoencoder's parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pipeline.encoders.autoencoders.autoencoder import Autoencoder, build_autoencoder
from pipeline.encoders.autoencoders.decoder import Decoded, Decoder
from pipeline.encoders.autoencoders.latent import LatentHead
from pipeline.encoders.autoencoders.likelihood import Bernoulli
from pipeline.encoders.configs.autoencoder import AutoencoderConfig
from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.encoders.embeddings import embedding, embedding_width, problems_of_embedding

pytestmark = pytest.mark.fast

DECODERS: dict[str, dict[str, Any]] = {
    "conv": {"kind": "conv", "channels": [24, 16, 8]},
    "patches": {"kind": "patches", "patch": 4, "width": 8, "depth": 3, "heads": 2},
}
EVERY = pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
WIDTH, SIZE, CODE = 7, 12, 5


def built(decoder: dict[str, Any], **settings: Any) -> Autoencoder:
    torch.manual_seed(0)
    config = AutoencoderConfig.model_validate({"width": CODE, "decoder": decoder, **settings})
    return build_autoencoder(config, feature_width=WIDTH, size=SIZE).eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(count: int, *, seed: int = 0) -> Tensor:
    """uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)


def given(autoencoder: Autoencoder, section: Any, *, count: int = 4) -> Tensor:
    wanted = FeaturesConfig.model_validate(section)
    pixels = images(count) / 255
    with torch.no_grad():
        return embedding(noise(count, WIDTH), pixels, wanted, autoencoder=autoencoder)


def by_hand(autoencoder: Autoencoder, count: int = 4) -> tuple[Tensor, Tensor]:
    """Mean and log-scale of codes."""
    linear = autoencoder.head.linear
    both = noise(count, WIDTH) @ linear.weight.T + linear.bias
    return both[:, :CODE].detach(), both[:, CODE:].detach()


def test_pooled_is_what_the_encoder_gives() -> None:
    assert torch.equal(given(built(DECODERS["conv"]), "pooled"), noise(4, WIDTH))
    alone = embedding(noise(4, WIDTH), images(4) / 255, FeaturesConfig(kind="pooled"))
    assert torch.equal(alone, noise(4, WIDTH))


@EVERY
def test_the_mean_is_the_first_half_of_the_linear_head(decoder: dict[str, Any]) -> None:
    autoencoder = built(decoder)
    torch.testing.assert_close(given(autoencoder, "mean"), by_hand(autoencoder)[0])


def hidden_by_hooks(autoencoder: Autoencoder) -> list[Tensor]:
    """What comes out of the decoder's layers for the means, as (B, T, H)."""
    decoder = autoencoder.decoder
    stages = hasattr(decoder, "stages")
    parts = list(decoder.stages) if stages else [*decoder.blocks[:-1], decoder.norm]
    outputs: list[Tensor] = []
    hooks = [part.register_forward_hook(lambda *args: outputs.append(args[2])) for part in parts]
    with torch.no_grad():
        decoder(by_hand(autoencoder)[0])
    for hook in hooks:
        hook.remove()
    # Of the transformer's tokens the first is the code's.
    return [o.flatten(2).permute(0, 2, 1) if stages else o[:, 1:] for o in outputs]


@EVERY
@pytest.mark.parametrize("layer", [-3, -2, -1, 0, 1, 2])
def test_hidden_layers_are_those_that_hooks_see(decoder: dict[str, Any], layer: int) -> None:
    autoencoder = built(decoder)
    with torch.no_grad():  # of the mean, however wide the posterior
        autoencoder.head.linear.bias[CODE:] += 3
    expected = hidden_by_hooks(autoencoder)[layer]
    pools = {
        "mean": expected.mean(dim=1),
        "last": expected[:, expected.shape[1] - 1],
        "none": torch.cat([expected[:, place] for place in range(expected.shape[1])], dim=1),
    }
    for pool, value in pools.items():
        section = {"kind": "decoder_hidden", "layer": layer, "pool": pool}
        torch.testing.assert_close(given(autoencoder, section), value)
    if layer == -1:
        torch.testing.assert_close(given(autoencoder, "decoder_hidden"), pools["mean"])


@EVERY
@pytest.mark.parametrize("channels", [1, 3])
def test_widths_are_found_without_samples(decoder: dict[str, Any], channels: int) -> None:
    autoencoder = built(decoder, channels=channels)
    for section in (
        "pooled",
        "mean",
        "sample",
        "decoder_hidden",
        {"kind": "decoder_hidden", "layer": 0, "pool": "none"},
    ):
        wanted = FeaturesConfig.model_validate(section)
        width = embedding_width(wanted, autoencoder, feature_width=WIDTH, size=SIZE)
        assert given(autoencoder, section).shape == (4, width)


def test_a_sample_is_of_the_posterior() -> None:
    autoencoder, count = built(DECODERS["conv"]), 4000
    mean, log_scale = by_hand(autoencoder, count)
    standard = (given(autoencoder, "sample", count=count) - mean) / log_scale.exp()
    assert standard.mean(dim=0).abs().max() < 4 / count**0.5
    assert (standard.std(dim=0) - 1).abs().max() < 4 / (2 * count) ** 0.5
    correlation = torch.corrcoef(standard.T) - torch.eye(CODE)
    assert correlation.abs().max() < 5 / count**0.5


def test_a_sample_depends_on_the_image_and_not_on_its_batch() -> None:
    autoencoder = built(DECODERS["conv"])
    features, pixels = noise(4, WIDTH), images(4)
    wanted = FeaturesConfig(kind="sample")

    def drawn(*rows: int, values: Tensor) -> Tensor:
        index = list(rows)
        return embedding(features[index], values[index], wanted, autoencoder=autoencoder)

    whole = drawn(0, 1, 2, 3, values=pixels / 255)
    assert torch.equal(drawn(0, 1, 2, 3, values=pixels), whole)
    torch.testing.assert_close(drawn(3, 1, values=pixels / 255), whole[[3, 1]])
    nearly = pixels.clone()
    nearly[:, 2, 5, 7] ^= 1
    assert not torch.isclose(drawn(0, 1, 2, 3, values=nearly), whole).any()
    turned = pixels.flip(-1)  # the same values in other places
    assert not torch.isclose(drawn(0, 1, 2, 3, values=turned), whole).any()


class TokenDecoder(Decoder):
    """Two GRUs; the code is where both begin, and each place is told the token before it."""

    def __init__(self, *, vocabulary: int, width: int) -> None:
        super().__init__()
        self.layers = 2
        self.start = vocabulary
        self.embed = nn.Embedding(vocabulary + 1, CODE)
        self.begin = nn.Linear(CODE, width)
        self.first = nn.GRU(CODE, width, batch_first=True)
        self.second = nn.GRU(width, width, batch_first=True)
        self.output = nn.Linear(width, vocabulary)

    def forward(self, codes: Tensor, target: Tensor | None = None) -> Decoded:
        assert target is not None
        start = torch.full_like(target[:, :1], self.start)
        told = self.embed(torch.cat([start, target[:, :-1]], dim=1))
        begin = self.begin(codes)[None]
        first, _ = self.first(told, begin)
        second, _ = self.second(first, begin)
        return Decoded(output=self.output(second), hidden=(first, second))


@pytest.fixture
def of_tokens() -> Autoencoder:
    torch.manual_seed(0)
    head = LatentHead(feature_width=WIDTH, width=CODE, log_scale_least=-6.0)
    decoder = TokenDecoder(vocabulary=9, width=6)
    # No embedding asks how likely anything is.
    return Autoencoder(head=head, decoder=decoder, likelihood=Bernoulli()).eval()


def states(autoencoder: Autoencoder, tokens: Tensor, layer: int) -> Tensor:
    """Hidden states (B, T, H)."""
    wanted = FeaturesConfig(kind="decoder_hidden", layer=layer, pool="none")
    with torch.no_grad():
        flat = embedding(noise(len(tokens), WIDTH), tokens, wanted, autoencoder=autoencoder)
    return flat.unflatten(1, (tokens.shape[1], -1))


@pytest.mark.parametrize("layer", [0, 1])
def test_an_autoregressive_decoder_is_told_the_sample(of_tokens: Autoencoder, layer: int) -> None:
    """Place t knows the tokens before t, and no others."""
    tokens = torch.randint(0, 9, (3, 8), generator=torch.Generator().manual_seed(0))
    before = states(of_tokens, tokens, layer)
    for place in range(8):
        other = tokens.clone()
        other[:, place] = (other[:, place] + 1) % 9
        moved = (states(of_tokens, other, layer) - before).abs().amax(dim=(0, 2))
        assert (moved[: place + 1] == 0).all()
        assert (moved[place + 1 :] > 0).all()


def test_teacher_forcing_is_a_step_after_another(of_tokens: Autoencoder) -> None:
    tokens = torch.randint(0, 9, (3, 8), generator=torch.Generator().manual_seed(0))
    decoder = of_tokens.decoder
    with torch.no_grad():
        first = second = decoder.begin(by_hand(of_tokens, 3)[0])[None]
        steps = []
        told = torch.full((3,), decoder.start)
        for place in range(8):
            _, first = decoder.first(decoder.embed(told)[:, None], first)
            _, second = decoder.second(first[0][:, None], second)
            steps.append(second[0])
            told = tokens[:, place]
    torch.testing.assert_close(states(of_tokens, tokens, -1), torch.stack(steps, dim=1))


def test_gradients_reach_features() -> None:
    """A user may train on."""
    features = noise(2, WIDTH).requires_grad_()
    for kind in ("mean", "sample", "decoder_hidden"):
        wanted = FeaturesConfig.model_validate(kind)
        found = embedding(features, images(2) / 255, wanted, autoencoder=built(DECODERS["conv"]))
        (gradient,) = torch.autograd.grad(found.square().sum(), features)
        assert gradient.abs().sum() > 0


def test_what_cannot_be_given_is_named() -> None:
    autoencoder = built(DECODERS["conv"])
    for kind in ("mean", "sample", "decoder_hidden"):
        wanted = FeaturesConfig.model_validate(kind)
        assert problems_of_embedding(wanted, autoencoder, setting="features") == []
        (problem,) = problems_of_embedding(wanted, None, setting="features")
        assert str(problem).startswith(f"features: {kind}: needs one autoencoder")
        assert str(problem).endswith("allowed: pooled")
        with pytest.raises(ValueError, match="need an autoencoder"):
            embedding(noise(2, WIDTH), images(2) / 255, wanted)
    assert problems_of_embedding(FeaturesConfig(kind="pooled"), None, setting="features") == []


@pytest.mark.parametrize("layer", [-4, 3, 99])
def test_a_layer_that_there_is_not_is_refused_with_the_range(layer: int) -> None:
    wanted = FeaturesConfig(kind="decoder_hidden", layer=layer)
    (problem,) = problems_of_embedding(wanted, built(DECODERS["conv"]), setting="encoder.features")
    assert str(problem) == (
        f"encoder.features.layer: {layer} is wrong: the decoder has 3 hidden layers; allowed: "
        "-3 to 2"
    )


@pytest.mark.parametrize("kind", ["pooled", "mean", "sample", "decoder_hidden"])
def test_a_kind_alone_has_its_defaults_and_comes_back(kind: str) -> None:
    wanted = FeaturesConfig.model_validate(kind)
    expected = {"kind": kind}
    if kind == "decoder_hidden":
        expected |= {"layer": -1, "pool": "mean"}
    assert wanted.model_dump(mode="json") == expected
    assert FeaturesConfig.model_validate(expected) == wanted
    assert FeaturesConfig.model_validate_json(wanted.model_dump_json()) == wanted
    assert wanted.of_kind(kind) is wanted
    assert wanted.of_kind("mean") == FeaturesConfig(kind="mean")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "mean", "layer": -1}, "layer is a setting of kind decoder_hidden, not mean"),
        ({"kind": "pooled", "pool": "last"}, "pool is a setting of kind decoder_hidden"),
        ({"kind": "decoder_hidden", "pool": "max"}, "'mean', 'last' or 'none'"),
        ("hidden", "'pooled', 'mean', 'sample' or 'decoder_hidden'"),
        (["mean"], "one of pooled, mean, sample, decoder_hidden, or a section"),
    ],
)
def test_settings_that_make_no_sense_are_refused(section: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FeaturesConfig.model_validate(section)
