"""SimCLR: each view must pick its partner out of the global batch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pipeline.encoders.heads import mlp
from pipeline.objectives.base import Capabilities, EncodedViews, PairLosses
from pipeline.objectives.configs.simclr import SimCLRConfig
from pipeline.objectives.parts.contrast import ContrastiveObjective, global_batch_cross_entropy
from pipeline.objectives.parts.partners import GLOBAL_VIEWS


class SimCLR(ContrastiveObjective):
    """NT-Xent over a projection head, negatives from all ranks."""

    capabilities = Capabilities(
        views=GLOBAL_VIEWS, local_views=True, mining="per_sample", arbitration="per_view"
    )

    def __init__(self, *, config: SimCLRConfig, feature_width: int) -> None:
        super().__init__(
            feature_width=feature_width,
            projector=mlp(feature_width, config.projector, output_norm=True),
            temperature=config.temperature,
        )

    def forward(self, views: EncodedViews) -> PairLosses:
        """NT-Xent of all views; `evidence` is their mean."""
        z_VBD = F.normalize(self.project_views(views.features), dim=-1)
        temperature = self.temperature(views.progress)
        loss = nt_xent(z_VBD, temperature=temperature)
        return self.pair_losses(loss, z_VBD, temperature=temperature)


def nt_xent(z_VBD: Tensor, *, temperature: Tensor | float) -> Tensor:
    """Normalised-temperature cross entropy of every view of every sample.

    A view has two keys of its own sample, the global views, and those of all other samples of the
    global batch. loss[v, i] = log(1 + sum_k exp((z_vi . z_k - z_vi . z_v'i) / tau)) with k over
    both keys of all other samples; v' is the other global view (SimCLR, equation 1), for a local
    view each of the two, of which the mean counts. Every rank calls this; a rank scores its own
    rows against all ranks' rows, gathered with gradient.

    Args:
        z_VBD: (V, B, D) unit vectors of this rank's samples, two global views first, float32 or
            float64.
        temperature: tau.

    Returns:
        (V, B) losses.
    """
    return global_batch_cross_entropy(z_VBD, temperature=temperature)
