"""MIM: encoder and decoder agree on one joint distribution of samples and codes, of low entropy."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pipeline.encoders.autoencoders import noise
from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.encoders.autoencoders.latent import log_standard_normal
from pipeline.objectives.base import EncodedViews, PairLosses
from pipeline.objectives.configs.latent import LatentObjectiveConfig
from pipeline.objectives.configs.mim import MIMConfig
from pipeline.objectives.parts.latent import Codes, LatentObjective


class MIM(LatentObjective):
    """-1/2 [log p(x|z) + log P(z) + beta (log q(z|x) + log q(x))], over both kinds of samples.

    log q(x) of the marginal is estimated by one draw: on data, log p(x|z) + log P(z) - log q(z|x),
    which leaves -(1 + beta)/2 [log p(x|z) + log P(z)]; on the model's samples log p(x|z), as in the
    official code for images.
    """

    def __init__(self, *, config: MIMConfig, autoencoder: Autoencoder, feature_width: int) -> None:
        super().__init__(autoencoder=autoencoder, feature_width=feature_width)
        self._config = config

    def forward(self, views: EncodedViews) -> PairLosses:
        """Data's samples as losses, the model's own as a term."""
        config, codes = self._config, self.codes(views)
        beta = config.beta(views.progress)
        loss_VB = config.reconstruction * codes.reconstruction - config.latent * codes.log_prior
        terms = {}
        if config.model_samples:
            own = self.own_samples_loss(views) if beta >= 1 else codes.sampled.new_zeros(())
            terms["model_samples"] = config.model_samples * own
        return self.scored(codes, (1 + beta) / 2 * loss_VB, terms=terms)

    def own_samples_loss(self, views: EncodedViews) -> Tensor:
        """The mean loss of as many samples of the model as a view has; a scalar.

        Codes are draws of the anchor, at which the encoder's density of the decoder's samples is
        evaluated. Through samples that are discrete no gradient passes: the score function stands
        in for it, without baseline.
        """
        assert views.sample_id is not None
        assert views.encode is not None
        autoencoder, ids, seed = self.autoencoder, views.sample_id, views.step_seed
        z_BD = noise.normal("anchor", seed, ids, count=autoencoder.head.width)
        z_BD = z_BD.to(autoencoder.head.linear.weight)  # features may be of half precision
        output = autoencoder.decode(z_BD).output
        likelihood = autoencoder.likelihood
        uniform = noise.uniform("own sample", seed, ids, count=output[0].numel())
        x = likelihood.sample(output, uniform.view_as(output))
        log_x = -likelihood.negative_log(output, x)
        log_q = self._log_posterior(z_BD, x, views.encode)
        config = self._config
        log_prior = log_standard_normal(z_BD)
        loss_B = -config.reconstruction * log_x - config.latent * (log_prior + log_q) / 2
        if not likelihood.differentiable:
            nats_B = likelihood.nats(output, x)  # whatever the reduction: of the draw itself
            loss_B = loss_B - loss_B.detach() * (nats_B - nats_B.detach())
        return loss_B.mean()

    def _log_posterior(self, z_BD: Tensor, x: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        features = encode(x.expand(-1, 3, -1, -1))
        return self.autoencoder.posterior(features).log_density(z_BD)


class AMIM(LatentObjective):
    """-log p(x|z) - 1/2 [log q(z|x) + log P(z)]: a posterior is rewarded for being narrow.

    From MIM by the bound log q(x) >= log p(x|z) - log B, less its constant.
    """

    def __init__(
        self, *, config: LatentObjectiveConfig, autoencoder: Autoencoder, feature_width: int
    ) -> None:
        super().__init__(autoencoder=autoencoder, feature_width=feature_width)
        self._config = config

    def forward(self, views: EncodedViews) -> PairLosses:
        """A loss for each view of each sample."""
        codes = self.codes(views)
        beta = self._config.beta(views.progress)
        loss_VB = self.reconstruction_loss(codes, beta) + self.latent_loss(codes, beta)
        return self.scored(codes, loss_VB)

    def reconstruction_loss(self, codes: Codes, beta: float) -> Tensor:
        """Weighted; (V, B)."""
        return self._config.reconstruction * (1 + beta) / 2 * codes.reconstruction

    def latent_loss(self, codes: Codes, beta: float) -> Tensor:
        """Weighted; (V, B)."""
        densities = beta * codes.log_posterior + codes.log_prior
        return -self._config.latent / 2 * densities
