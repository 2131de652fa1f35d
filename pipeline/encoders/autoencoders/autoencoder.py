"""What makes an autoencoder of an encoder: stochastic head, decoder and likelihood."""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.encoders.autoencoders.decoder import Decoded, Decoder
from pipeline.encoders.autoencoders.latent import LatentHead, Posterior
from pipeline.encoders.autoencoders.likelihood import Likelihood
from pipeline.encoders.configs.autoencoder import AutoencoderConfig


class Autoencoder(nn.Module):
    """q(z | x) given the encoder's features, and p(x | z)."""

    def __init__(
        self,
        *,
        head: LatentHead,
        decoder: Decoder,
        likelihood: Likelihood,
        grey: bool = False,
    ) -> None:
        """Put the parts together.

        Args:
            head: from features to codes.
            decoder: from codes to the likelihood's parameters.
            likelihood: of samples.
            grey: whether the mean of an image's channels is decoded in their place.
        """
        super().__init__()
        self.head = head
        self.decoder = decoder
        self.likelihood = likelihood
        self.grey = grey

    def posterior(self, features: Tensor) -> Posterior:
        """q(z | x) for features (..., F)."""
        found: Posterior = self.head(features)
        return found

    def target(self, samples: Tensor) -> Tensor:
        """What is to be reconstructed of samples: of images (B, 3, S, S), (B, C, S, S)."""
        return samples.mean(dim=1, keepdim=True) if self.grey else samples

    def decode(self, codes: Tensor, target: Tensor | None = None) -> Decoded:
        """The decoder's layers for codes (B, D); `target` is for one that is autoregressive."""
        decoded: Decoded = self.decoder(codes, target)
        return decoded

    def reconstruction_loss(self, codes: Tensor, target: Tensor) -> Tensor:
        """-log p(x | z) of codes (B, D) and targets (B, ...); (B,), reduced by the likelihood."""
        return self.likelihood.negative_log(self.decode(codes, target).output, target)


def build_autoencoder(config: AutoencoderConfig, *, feature_width: int, size: int) -> Autoencoder:
    """Build it for images.

    Args:
        config: its settings.
        feature_width: F of the encoder before it.
        size: side of images in pixels.

    Raises:
        UserError: the decoder cannot make images of this side.
    """
    return Autoencoder(
        head=LatentHead(
            feature_width=feature_width,
            width=config.width,
            log_scale_least=config.log_scale_least,
        ),
        decoder=config.decoder.build(width=config.width, size=size, channels=config.channels),
        likelihood=config.likelihood,
        grey=config.channels == 1,
    )
