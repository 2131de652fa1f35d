"""SimSiam: each view predicts the other's projection, through which no gradient flows."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn import functional as F

from pipeline.encoders.heads import mlp
from pipeline.objectives.base import (
    Capabilities,
    EncodedViews,
    Objective,
    PairLosses,
    at_least_float32,
)
from pipeline.objectives.byol import negative_cosine
from pipeline.objectives.configs.simsiam import SimSiamConfig
from pipeline.objectives.parts.partners import GLOBAL_VIEWS


class SimSiam(Objective):
    """Predictions against projections of the same weights."""

    capabilities = Capabilities(
        views=GLOBAL_VIEWS, local_views=True, mining="per_sample", arbitration="per_view"
    )
    views_apart = True

    def __init__(self, *, config: SimSiamConfig, feature_width: int) -> None:
        super().__init__(
            feature_width=feature_width,
            projector=mlp(feature_width, config.projector, output_norm=True),
        )
        width = config.projector[-1]
        self.predictor = mlp(width, (*config.predictor, width))
        self._constant_predictor_rate = config.constant_predictor_rate

    def forward(self, views: EncodedViews) -> PairLosses:
        """Each view's -cos with the projections of the global views other than itself."""
        z_VBD = self.project_views(views.features)
        predictions = at_least_float32(self.of_views(self.predictor, z_VBD))
        loss = negative_cosine(predictions, z_VBD[:GLOBAL_VIEWS])
        return PairLosses(
            loss=loss,
            evidence=loss.detach().mean(dim=0),
            projections=F.normalize(z_VBD, dim=-1),
        )

    def constant_rate_parameters(self) -> Iterator[nn.Parameter]:
        """The predictor's, which must keep up with the projector (section 4.2)."""
        if self._constant_predictor_rate:
            yield from self.predictor.parameters()
