"""MoCo v3: keys of an EMA twin, negatives out of the same batch, no queue."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives
from pipeline.encoders.ema import EMAConfig, EMATwin
from pipeline.encoders.heads import HiddenWidths, Widths, mlp
from pipeline.encoders.shape import EncoderShape
from pipeline.objectives.base import (
    Capabilities,
    EncodedViews,
    ObjectiveConfig,
    PairLosses,
    at_least_float32,
)
from pipeline.objectives.parts.contrast import (
    ContrastiveObjective,
    own_places,
    own_products,
    pair_cross_entropy,
)
from pipeline.objectives.parts.log_sum_exp import log_sum_exp
from pipeline.objectives.parts.partners import GLOBAL_VIEWS
from pipeline.objectives.parts.temperature import TemperatureConfig


class MoCoV3Config(ObjectiveConfig):
    """MoCo v3 (Chen et al., An Empirical Study of Training Self-Supervised ViTs, ICCV 2021).

    The heads are the official ones for a ViT; for a ResNet `projector: [4096, 256]` and
    `predictor_norm: false`. The official loss is the sum of both directions, ours their mean.
    """

    kind: Literal["mocov3"]
    temperature: TemperatureConfig = TemperatureConfig(start=0.2)
    ema: EMAConfig = EMAConfig(start=0.99, end=1.0)
    projector: Widths = (4096, 4096, 256)
    predictor: HiddenWidths = (4096,)
    predictor_norm: Annotated[bool, Field(description="batch norm of the predictor's output")] = (
        True
    )

    def build(self, encoder: EncoderShape, *, global_batch: int) -> MoCoV3:
        """The objective for an encoder of this feature width."""
        return MoCoV3(config=self, feature_width=encoder.width)


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
