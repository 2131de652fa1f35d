"""BYOL: each view predicts what the EMA twin makes of the other."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.ema import EMATwin
from pipeline.encoders.heads import mlp
from pipeline.objectives.base import (
    Capabilities,
    EncodedViews,
    Objective,
    PairLosses,
    at_least_float32,
)
from pipeline.objectives.configs.byol import BYOLConfig
from pipeline.objectives.parts.partners import GLOBAL_VIEWS, mean_over_partners


class BYOL(Objective):
    """Predictions of the encoder's projections against the twin's."""

    capabilities = Capabilities(
        views=GLOBAL_VIEWS, local_views=True, mining="per_sample", arbitration="per_view"
    )
    ema: EMAConfig
    views_apart = True

    def __init__(self, *, config: BYOLConfig, feature_width: int) -> None:
        super().__init__(
            feature_width=feature_width, projector=mlp(feature_width, config.projector)
        )
        self.ema = config.ema
        width = config.projector[-1]
        self.predictor = mlp(width, (*config.predictor, width))
        self.target_projector = EMATwin(self.projector)

    def forward(self, views: EncodedViews) -> PairLosses:
        """Each view's distance from the targets of the global views other than itself."""
        assert views.targets is not None
        z_VBD = self.project_views(views.features)
        predictions = at_least_float32(self.of_views(self.predictor, z_VBD))
        targets = at_least_float32(self.of_views(self.target_projector, views.targets))
        loss = 2 + 2 * negative_cosine(predictions, targets)
        return PairLosses(
            loss=loss,
            evidence=loss.detach().mean(dim=0),
            projections=F.normalize(z_VBD, dim=-1),
        )

    def after_step(self, progress: float) -> None:
        """Move the twin's head."""
        self.target_projector.follow(self.projector, self.ema.momentum(progress))


def negative_cosine(predictions_VBD: Tensor, targets_GBD: Tensor) -> Tensor:
    """-cos of predictions and targets: BYOL's equation 2 is 2 + 2 times it, SimSiam's 1 is it.

    Args:
        predictions_VBD: of this rank's samples, the G global views first.
        targets_GBD: of the same samples; no gradient flows through them.

    Returns:
        (V, B), the mean over the global views other than the predicting one.
    """
    predictions, targets = predictions_VBD.unbind(), targets_GBD.detach().unbind()
    return mean_over_partners(
        lambda view, partner: -F.cosine_similarity(predictions[view], targets[partner], dim=-1),
        views=len(predictions),
    )
