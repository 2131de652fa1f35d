"""What objectives over an autoencoder's codes have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.encoders.autoencoders import noise
from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.encoders.autoencoders.latent import Posterior, log_standard_normal
from pipeline.objectives.base import Capabilities, EncodedViews, Objective, PairLosses


@dataclass(frozen=True, kw_only=True)
class Codes:
    """A step's codes and what is known of them; V views of B samples.

    In nats, but for a likelihood that is reduced to its mean: nats a value.
    """

    posterior: Posterior  # of (V, B, D)
    sampled: Tensor  # (V, B, D) z
    reconstruction: Tensor  # (V, B) -log p(x | z)
    log_posterior: Tensor  # (V, B) log q(z | x)
    log_prior: Tensor  # (V, B) log P(z)


class LatentObjective(Objective):
    """Draws a code of every view and scores it; each view is a sample of its own.

    No view is compared with another of its sample, so that one view without augmentation is enough.
    """

    capabilities = Capabilities(views=1, more_views=True, mining="per_sample", arbitration="none")
    reconstructs = True

    def __init__(self, *, autoencoder: Autoencoder, feature_width: int) -> None:
        """Keep the parts.

        Args:
            autoencoder: behind the encoder.
            feature_width: F of the encoder it is for.
        """
        super().__init__(feature_width=feature_width, projector=nn.Identity())
        self.autoencoder = autoencoder

    @property
    def sole_autoencoder(self) -> Autoencoder:
        """Its own."""
        return self.autoencoder

    def project(self, features: Tensor) -> Tensor:
        """The means of codes (B, D) for features (B, F)."""
        return self.autoencoder.posterior(features).mean

    def codes(self, views: EncodedViews) -> Codes:
        """Draw codes by the ids of samples and the step, and decode them."""
        assert views.samples is not None
        posterior = self.autoencoder.posterior(views.features)
        z_VBD = posterior.sample(_noise(views, like=posterior.mean))
        target = self.autoencoder.target(views.samples.flatten(0, 1))
        losses = self.autoencoder.reconstruction_loss(z_VBD.flatten(0, 1), target)
        return Codes(
            posterior=posterior,
            sampled=z_VBD,
            reconstruction=losses.view(z_VBD.shape[:2]),
            log_posterior=posterior.log_density(z_VBD),
            log_prior=log_standard_normal(z_VBD),
        )

    def scored(self, codes: Codes, loss_VB: Tensor, **more: Any) -> PairLosses:
        """The losses with what is logged of codes; `more` are further fields."""
        logs = {**_logs(codes), **more.pop("logs", {})}
        evidence = more.pop("evidence", loss_VB)
        return PairLosses(
            loss=loss_VB,
            evidence=evidence.detach().mean(dim=0),
            projections=codes.sampled,
            logs=logs,
            **more,
        )


def _noise(views: EncodedViews, *, like: Tensor) -> Tensor:
    """Standard normal (V, B, D), equal however the batch is cut into ranks."""
    assert views.sample_id is not None
    drawn = [
        noise.normal("code", views.step_seed, view, views.sample_id, count=like.shape[-1])
        for view in range(len(like))
    ]
    return torch.stack(drawn).to(like)


@torch.no_grad()
def _logs(codes: Codes) -> dict[str, Tensor]:
    log_scale = codes.posterior.log_scale
    return {
        "reconstruction": codes.reconstruction.mean(),
        "log_posterior": codes.log_posterior.mean(),
        "log_prior": codes.log_prior.mean(),
        "log_scale": log_scale.mean(),
    }
