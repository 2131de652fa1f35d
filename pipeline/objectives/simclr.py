"""SimCLR: each view must pick its partner out of the global batch."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives
from pipeline.encoders.heads import projector
from pipeline.objectives.base import (
    Capabilities,
    Objective,
    PairLosses,
    at_least_float32,
    without_autocast,
)


class SimCLRConfig(BaseModel):
    """SimCLR (Chen et al., A Simple Framework for Contrastive Learning, ICML 2020)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["simclr"] = "simclr"
    temperature: Annotated[float, Field(gt=0, description="tau of NT-Xent")] = 0.2
    projector: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...],
        Field(min_length=1, description="hidden widths and, last, the width of the projection"),
    ] = (2048, 256)

    def build(self, feature_width: int) -> SimCLR:
        """The objective for an encoder of this feature width."""
        return SimCLR(config=self, feature_width=feature_width)


class SimCLR(Objective):
    """NT-Xent over a projection head, negatives from all ranks."""

    capabilities = Capabilities(views=2, mining="per_sample", arbitration="per_sample")

    def __init__(self, *, config: SimCLRConfig, feature_width: int) -> None:
        super().__init__()
        self.feature_width = feature_width
        self.temperature = config.temperature
        self.projector = projector(feature_width, config.projector)

    def forward(self, features: Tensor) -> PairLosses:
        """NT-Xent of (2, B, D) features; `evidence` is the mean over the two directions."""
        views, batch, width = features.shape
        projected = self.project(features.reshape(views * batch, width))
        z_VBD = F.normalize(at_least_float32(projected), dim=-1).view(views, batch, -1)
        loss = nt_xent(z_VBD, temperature=self.temperature)
        return PairLosses(
            loss=loss,
            evidence=loss.detach().mean(dim=0),
            projections=z_VBD,
            logs={"alignment": (z_VBD[0] - z_VBD[1]).detach().square().sum(-1).mean()},
        )

    def project(self, features: Tensor) -> Tensor:
        """The projection head's output for features (B, D): (B, P)."""
        projected: Tensor = self.projector(features)
        return projected


def nt_xent(z_VBD: Tensor, *, temperature: float) -> Tensor:
    """Normalised-temperature cross entropy of every view of every sample.

    loss[v, i] = logsumexp_{k != (v, i)} (z_vi . z_k / tau) - z_vi . z_v'i / tau, where k runs over
    both views of the global batch and v' is the other view (SimCLR, equation 1). Every rank calls
    this; a rank scores its own rows against all ranks' rows, gathered with gradient.

    Args:
        z_VBD: (2, B, D) unit vectors of this rank's samples, float32 or float64.
        temperature: tau.

    Returns:
        (2, B) losses.
    """
    views, batch, _ = z_VBD.shape
    if views != 2:
        raise ValueError(f"NT-Xent pairs 2 views, got {views}")
    everyone = torch.stack([collectives.gather(z) for z in z_VBD])  # (2, N, D)
    total = everyone.shape[1]
    with without_autocast(z_VBD):
        logits = z_VBD.flatten(0, 1) @ everyone.flatten(0, 1).T / temperature  # (2B, 2N)
    own = torch.arange(batch, device=z_VBD.device) + collectives.rank() * batch
    itself = torch.cat([own, own + total])
    partner = torch.cat([own + total, own])
    logits = logits.scatter(1, itself[:, None], float("-inf"))
    return F.cross_entropy(logits, partner, reduction="none").view(views, batch)
