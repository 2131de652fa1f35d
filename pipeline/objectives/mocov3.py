"""MoCo v3: keys of an EMA twin, negatives out of the same batch, no queue."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives
from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.ema import EMATwin
from pipeline.encoders.heads import mlp
from pipeline.objectives.base import Capabilities, EncodedViews, PairLosses, at_least_float32
from pipeline.objectives.configs.mocov3 import MoCoV3Config
from pipeline.objectives.parts.contrast import (
    ContrastiveObjective,
    own_places,
    own_products,
    pair_cross_entropy,
)
from pipeline.objectives.parts.log_sum_exp import log_sum_exp
from pipeline.objectives.parts.partners import GLOBAL_VIEWS


class MoCoV3(ContrastiveObjective):
    """Predictions of the encoder against the twin's keys of the global batch."""

    capabilities = Capabilities(
        views=GLOBAL_VIEWS, local_views=True, mining="per_sample", arbitration="per_view"
    )
    ema: EMAConfig
    views_apart = True

    def __init__(self, *, config: MoCoV3Config, feature_width: int) -> None:
        super().__init__(
            feature_width=feature_width,
            projector=mlp(feature_width, config.projector, output_norm=True),
            temperature=config.temperature,
        )
        self.ema = config.ema
        width = config.projector[-1]
        self.predictor = mlp(width, (*config.predictor, width), output_norm=config.predictor_norm)
        self.target_projector = EMATwin(self.projector)

    def forward(self, views: EncodedViews) -> PairLosses:
        """Each view's cross entropy with the keys of the global views other than itself."""
        assert views.targets is not None
        z_VBD = self.project_views(views.features)
        q_VBD = F.normalize(at_least_float32(self.of_views(self.predictor, z_VBD)), dim=-1)
        keys = at_least_float32(self.of_views(self.target_projector, views.targets))
        temperature = self.temperature(views.progress)
        loss = batch_cross_entropy(q_VBD, F.normalize(keys, dim=-1), temperature=temperature)
        return self.pair_losses(loss, F.normalize(z_VBD, dim=-1), temperature=temperature)

    def after_step(self, progress: float) -> None:
        """Move the key head."""
        super().after_step(progress)
        self.target_projector.follow(self.projector, self.ema.momentum(progress))


def batch_cross_entropy(q_VBD: Tensor, k_GBD: Tensor, *, temperature: Tensor | float) -> Tensor:
    """Cross entropy of each prediction's own key among those of the global batch.

    loss[v, i] is the mean over the global views g other than v of
    2 tau * -log(exp(q_vi . k_gi / tau) / sum_n exp(q_vi . k_gn / tau)), n over the global batch
    (MoCo v3, equation 1 and algorithm 1). Every rank calls this; keys carry no gradient.

    Args:
        q_VBD: unit vectors of this rank's samples, the G global views first.
        k_GBD: unit vectors, the twin's, of the same samples.
        temperature: tau.

    Returns:
        (V, B).
    """
    keys = [collectives.gather(k_BD) for k_BD in k_GBD]
    scaled = q_VBD / temperature
    places = own_places(q_VBD.shape[1], device=q_VBD.device)
    loss = pair_cross_entropy(
        own_products(scaled, k_GBD),
        lambda view, partner: log_sum_exp(scaled[view], keys[partner], own_MG=places),
    )
    # As a factor it would only pull a learnt temperature down, whatever the pairs are like.
    factor = temperature.detach() if isinstance(temperature, Tensor) else temperature
    return 2 * factor * loss
