"""cMIM: A-MIM, and every code is to be told from the codes of other samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives
from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.objectives.base import EncodedViews, PairLosses
from pipeline.objectives.configs.cmim import CMIMConfig
from pipeline.objectives.mim import AMIM
from pipeline.objectives.parts.contrast import cross_entropy, own_places
from pipeline.objectives.parts.log_sum_exp import log_sum_exp
from pipeline.objectives.parts.temperature import Temperature


class CMIM(AMIM):
    """-[log p(k=1|x,z) + 1/2 (log q(z|x) + log P(z))] - log p(x|z), each with its weight."""

    def __init__(self, *, config: CMIMConfig, autoencoder: Autoencoder, feature_width: int) -> None:
        super().__init__(config=config, autoencoder=autoencoder, feature_width=feature_width)
        self.temperature = Temperature(config.temperature)
        self._contrast = config.contrast

    def forward(self, views: EncodedViews) -> PairLosses:
        """A loss for each view of each sample; `evidence` is -log p(k = 1 | x, z) alone.

        The terms of one code, which compare it with nothing, would drown it: they differ by whole
        nats from sample to sample, it by hundredths.
        """
        codes = self.codes(views)
        beta = self._config.beta(views.progress)
        temperature = self.temperature(views.progress)
        log_own_VB = torch.stack(
            [log_probability_own(z_BD, temperature=temperature) for z_BD in codes.sampled]
        )
        alone_VB = self.reconstruction_loss(codes, beta) + self.latent_loss(codes, beta)
        push = self._contrast * (1 - log_own_VB.detach().exp()).mean() / temperature
        return self.scored(
            codes,
            alone_VB - self._contrast * log_own_VB,
            evidence=-log_own_VB,
            logs={
                "contrast": -log_own_VB.detach().mean(),
                "contrast_push": torch.as_tensor(push).detach(),
                "temperature": torch.as_tensor(temperature).detach(),
            },
        )

    def negative_weights(self, cosines: Tensor, progress: float) -> Tensor:
        """The share of each negative in the denominator."""
        return (cosines / self.temperature(progress)).softmax(dim=1)

    def after_step(self, progress: float) -> None:
        """Keep a learnt temperature within its bounds."""
        self.temperature.clamp()


def log_probability_own(z_BD: Tensor, *, temperature: Tensor | float) -> Tensor:
    """How surely (log p(k = 1 | x_i, z_i)) a code is its own sample's, and not another's.

    -log(1 + exp(m_i - s_ii / tau)) with s the cosines, s_ii = 1, and m_i the log of the mean of
    exp(s_ij / tau) over all other samples j of the global batch (cMIM, as in NVIDIA's KERMT). The
    mean, where InfoNCE has a sum, makes it independent of the batch's size: from -log 2, all codes
    alike, to 0. Its derivative by s_ij is that of the softmax over tau, so that the sum of an
    anchor's is (1 - p) / tau. Every rank calls this.

    Args:
        z_BD: codes of this rank's samples, float32 or float64.
        temperature: tau.

    Returns:
        (B,); 0 for a single sample.
    """
    unit_BD = F.normalize(z_BD, dim=-1)
    all_ND = collectives.gather(unit_BD)
    if len(all_ND) == 1:
        return unit_BD.sum(dim=-1) * 0
    scaled_BD = unit_BD / temperature
    own = own_places(len(z_BD), views=1, device=z_BD.device)
    mean = log_sum_exp(scaled_BD, all_ND, own_MG=own) - math.log(len(all_ND) - 1)
    return -cross_entropy((scaled_BD * unit_BD).sum(dim=-1), mean)
