"""The hard contrastive loss: only an anchor's most similar negatives count."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives
from pipeline.encoders.heads import mlp
from pipeline.objectives.base import Capabilities, EncodedViews, PairLosses
from pipeline.objectives.configs.hard_contrastive import HardContrastiveConfig
from pipeline.objectives.parts.contrast import ContrastiveObjective, global_batch_cross_entropy
from pipeline.objectives.parts.partners import GLOBAL_VIEWS


class HardContrastive(ContrastiveObjective):
    """NT-Xent with each anchor's negatives from a quantile of its similarities on."""

    capabilities = Capabilities(
        views=GLOBAL_VIEWS, local_views=True, mining="per_sample", arbitration="per_view"
    )

    def __init__(self, *, config: HardContrastiveConfig, feature_width: int) -> None:
        super().__init__(
            feature_width=feature_width,
            projector=mlp(feature_width, config.projector, output_norm=True),
            temperature=config.temperature,
        )
        self._hardest = config.hardest

    def forward(self, views: EncodedViews) -> PairLosses:
        """The loss of all views; `evidence` is their mean."""
        z_VBD = F.normalize(self.project_views(views.features), dim=-1)
        temperature = self.temperature(views.progress)
        loss = hard_nt_xent(z_VBD, temperature=temperature, hardest=self._hardest)
        return self.pair_losses(loss, z_VBD, temperature=temperature)

    def negative_weights(self, cosines: Tensor, progress: float) -> Tensor:
        """The share of each negative among the hardest; none for the others."""
        bound = _quantile(cosines, self._hardest)
        logits = cosines / self.temperature(progress)
        return logits.masked_fill(cosines < bound, float("-inf")).softmax(dim=1)


def hard_nt_xent(z_VBD: Tensor, *, temperature: Tensor | float, hardest: float) -> Tensor:
    """NT-Xent of which only the most similar negatives are left (Wang & Liu, 2021).

    An anchor's negatives are the keys of all other samples of the global batch, 2 (N - 1) of them;
    the ceil(hardest * 2 (N - 1)) most similar count, and those that equal the last of them. Every
    rank calls this.

    Args:
        z_VBD: (V, B, D) unit vectors of this rank's samples, two global views first, float32 or
            float64.
        temperature: tau.
        hardest: alpha.

    Returns:
        (V, B) losses.
    """
    negatives = GLOBAL_VIEWS * (z_VBD.shape[1] * collectives.world_size() - 1)
    return global_batch_cross_entropy(
        z_VBD, temperature=temperature, hardest=max(1, math.ceil(hardest * negatives))
    )


def _quantile(values: Tensor, share: float) -> Tensor:
    """The least of the largest `share` of each row's values: (..., 1)."""
    count = math.ceil(share * values.shape[-1])
    return values.topk(count, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)
