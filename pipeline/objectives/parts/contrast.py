"""Cross entropy of a positive among negatives: what contrastive objectives have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import collectives
from pipeline.objectives.base import Objective, PairLosses
from pipeline.objectives.configs.temperature import TemperatureConfig
from pipeline.objectives.parts.log_sum_exp import log_sum_exp
from pipeline.objectives.parts.partners import GLOBAL_VIEWS, mean_of_pairs, mean_over_partners
from pipeline.objectives.parts.temperature import Temperature


class ContrastiveObjective(Objective):
    """A positive must win against negatives in a softmax with a temperature."""

    def __init__(
        self, *, feature_width: int, projector: nn.Module, temperature: TemperatureConfig
    ) -> None:
        super().__init__(feature_width=feature_width, projector=projector)
        self.temperature = Temperature(temperature)

    def negative_weights(self, cosines: Tensor, progress: float) -> Tensor:
        """The share of each negative among them (Wang & Liu, 2021)."""
        return (cosines / self.temperature(progress)).softmax(dim=1)

    def after_step(self, progress: float) -> None:
        """Keep a learnt temperature within its bounds."""
        self.temperature.clamp()

    def pair_losses(
        self, loss_VB: Tensor, projections_VBD: Tensor, *, temperature: Tensor | float
    ) -> PairLosses:
        """Losses that pairs own entirely; `evidence` is the mean over views."""
        return PairLosses(
            loss=loss_VB,
            evidence=loss_VB.detach().mean(dim=0),
            projections=projections_VBD,
            logs={"temperature": torch.as_tensor(temperature).detach()},
        )


def own_products(anchors_VBD: Tensor, keys_GBD: Tensor) -> Tensor:
    """Products of anchors with each key of their own sample: (V, G, B)."""
    return (anchors_VBD[:, None] * keys_GBD).sum(dim=-1)


def own_places(batch: int, *, device: torch.device, views: int = 1) -> Tensor:
    """Where a global batch has this rank's samples: (B, views) indices into all views' keys."""
    first = torch.arange(batch, device=device) + collectives.rank() * batch
    apart = batch * collectives.world_size()
    return first[:, None] + torch.arange(views, device=device) * apart


def cross_entropy(own: Tensor, others: Tensor) -> Tensor:
    """-log of the share that a positive has beside its negatives.

    Args:
        own: logits of positives.
        others: logsumexp of the negatives' logits, of a shape that broadcasts with `own`.

    Returns:
        log(exp(own) + exp(others)) - own.
    """
    return -F.logsigmoid(own - others)


def pair_cross_entropy(own_VGB: Tensor, others: Callable[[int, int], Tensor]) -> Tensor:
    """(V, B): the mean over a view's partners.

    Args:
        own_VGB: logits of positives.
        others: logsumexp (B,) of the negatives of a view and a partner.
    """
    return mean_over_partners(
        lambda view, partner: cross_entropy(own_VGB[view, partner], others(view, partner)),
        views=len(own_VGB),
    )


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
    places = own_places(batch, views=GLOBAL_VIEWS, device=z_VBD.device)
    negatives = log_sum_exp(
        scaled.flatten(0, 1), keys_ND, own_MG=places.repeat(views, 1), hardest=hardest
    )
    own_VGB = own_products(scaled, z_VBD[:GLOBAL_VIEWS])
    return mean_of_pairs(cross_entropy(own_VGB, negatives.view(views, 1, batch)))
