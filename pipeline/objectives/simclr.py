"""SimCLR: each view must pick its partner out of the global batch."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives
from pipeline.encoders.heads import Widths, mlp
from pipeline.objectives.base import Capabilities, EncodedViews, ObjectiveConfig, PairLosses
from pipeline.objectives.contrast import (
    GLOBAL_VIEWS,
    ContrastiveObjective,
    cross_entropy,
    mean_over_partners,
    own_places,
    own_products,
)
from pipeline.objectives.log_sum_exp import log_sum_exp
from pipeline.objectives.temperature import TemperatureConfig


class SimCLRConfig(ObjectiveConfig):
    """SimCLR (Chen et al., A Simple Framework for Contrastive Learning, ICML 2020)."""

    kind: Literal["simclr"] = "simclr"
    temperature: Annotated[TemperatureConfig, Field(description="tau of NT-Xent")] = (
        TemperatureConfig(start=0.2)
    )
    projector: Widths = (2048, 256)

    def build(self, feature_width: int, *, global_batch: int) -> SimCLR:
        """The objective for an encoder of this feature width."""
        return SimCLR(config=self, feature_width=feature_width)


class SimCLR(ContrastiveObjective):
    """NT-Xent over a projection head, negatives from all ranks."""

    capabilities = Capabilities(
        views=GLOBAL_VIEWS, local_views=True, mining="per_sample", arbitration="per_sample"
    )

    def __init__(self, *, config: SimCLRConfig, feature_width: int) -> None:
        super().__init__(
            feature_width=feature_width,
            projector=mlp(feature_width, config.projector),
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


def global_batch_cross_entropy(
    z_VBD: Tensor, *, temperature: Tensor | float, hardest: int | None = None
) -> Tensor:
    """NT-Xent of which each view's so many most similar negatives are left; None: all.

    Every rank calls this.
    """
    views, batch, _ = z_VBD.shape
    keys_ND = torch.cat([collectives.gather(z_BD) for z_BD in z_VBD[:GLOBAL_VIEWS]])
    # Not the products but the factors are divided: those are many more.
    scaled = z_VBD / temperature
    places = own_places(batch, views=GLOBAL_VIEWS).to(z_VBD.device)
    negatives = log_sum_exp(
        scaled.flatten(0, 1), keys_ND, own_MG=places.repeat(views, 1), hardest=hardest
    )
    own_VGB = own_products(scaled, z_VBD[:GLOBAL_VIEWS])
    return mean_over_partners(cross_entropy(own_VGB, negatives.view(views, 1, batch)))
