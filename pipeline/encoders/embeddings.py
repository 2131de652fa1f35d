"""Embeddings: what of an encoder, or of the autoencoder behind it, stands for a sample."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.encoders.autoencoders import noise
from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.encoders.configs.features import FeaturesConfig, Pool
from pipeline.errors import Problem

NO_AUTOENCODER = "needs one autoencoder behind the encoder, as mim, a_mim and cmim train it"


def embedding(
    features: Tensor,
    samples: Tensor,
    wanted: FeaturesConfig,
    *,
    autoencoder: Autoencoder | None = None,
) -> Tensor:
    """What stands for samples.

    `sample` draws by a hash of the sample's values, to 8 bits where they are floats, so that equal
    samples get equal noise in whatever batch they come, and others other noise.

    Args:
        features: (B, F) of the encoder.
        samples: (B, ...) what was encoded, as a decoder is told it: images (B, 3, S, S) in [0, 1],
            or whole numbers such as tokens (B, T).
        wanted: which embedding, as `problems_of_embedding` allows it. `pool` is the `mean` over the
            layer's T places, the `last` of them, or all of them side by side (`none`).
        autoencoder: behind the encoder, in eval mode; not for `pooled`.

    Returns:
        (B, E): F for `pooled`, D of a code for `mean` and `sample`, H or T * H of the layer's for
        `decoder_hidden`. With gradient.

    Raises:
        ValueError: a kind that needs an autoencoder, without one.
    """
    if wanted.kind == "pooled":
        return features
    if autoencoder is None:
        raise ValueError(f"{wanted.kind} features need an autoencoder")
    posterior = autoencoder.posterior(features)
    if wanted.kind == "mean":
        return posterior.mean
    if wanted.kind == "sample":
        drawn = noise.normal("embedding", _digest(samples), count=posterior.mean.shape[-1])
        return posterior.sample(drawn.to(posterior.mean))
    decoded = autoencoder.decode(posterior.mean, autoencoder.target(samples))
    return _pooled(decoded.hidden[wanted.layer], wanted.pool)


@torch.no_grad()
def embedding_width(
    wanted: FeaturesConfig,
    autoencoder: Autoencoder | None,
    *,
    feature_width: int,
    size: int,
) -> int:
    """E of `embedding` for images, found by trying two blank ones.

    Args:
        wanted: which embedding, as `problems_of_embedding` allows it.
        autoencoder: behind the encoder, in eval mode, on the CPU.
        feature_width: F of the encoder.
        size: side of images in pixels.
    """
    features, images = torch.zeros(2, feature_width), torch.zeros(2, 3, size, size)
    return embedding(features, images, wanted, autoencoder=autoencoder).shape[1]


def problems_of_embedding(
    wanted: FeaturesConfig, autoencoder: Autoencoder | None, *, setting: str
) -> list[Problem]:
    """Why an encoder cannot give an embedding, if it cannot.

    Args:
        wanted: which embedding.
        autoencoder: behind the encoder, if there is exactly one.
        setting: that asks for them, for the message.
    """
    if wanted.kind == "pooled":
        return []
    if autoencoder is None:
        return [Problem(setting, f"{wanted.kind}: {NO_AUTOENCODER}; allowed: pooled")]
    layers = autoencoder.decoder.layers
    if -layers <= wanted.layer < layers:
        return []
    return [
        Problem(
            f"{setting}.layer",
            f"{wanted.layer} is wrong: the decoder has {layers} hidden layers; allowed: "
            f"{-layers} to {layers - 1}",
        )
    ]


def _digest(samples: Tensor) -> Tensor:
    """(B,) int64, a hash of each sample's values."""
    values = samples.flatten(1)
    if values.is_floating_point():
        values = (values * 255).round()
    weights = noise.mix("value", torch.arange(values.shape[1], device=values.device))
    return (values.long() * weights).sum(dim=1)


def _pooled(hidden: Tensor, pool: Pool) -> Tensor:
    """(B, T, H) over places: (B, H), or (B, T * H)."""
    if pool == Pool.none:
        return hidden.flatten(1)
    return hidden.mean(dim=1) if pool == Pool.mean else hidden[:, -1]
