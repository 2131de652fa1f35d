"""Cross entropy of a positive among negatives: what contrastive objectives have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import collectives
from pipeline.objectives.base import Objective, PairLosses, without_autocast
from pipeline.objectives.temperature import Temperature, TemperatureConfig

GLOBAL_VIEWS = 2


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


def similarities(
    anchors_VBD: Tensor, keys_GND: Tensor, *, temperature: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Cosines over tau of anchors with their own samples' keys and with all others'.

    Args:
        anchors_VBD: unit vectors of this rank's samples, float32 or float64.
        keys_GND: unit vectors of the global batch, in rank order.
        temperature: tau.

    Returns:
        Own (V, G, B), and others (V, B, G, N) with -inf in place of own ones.
    """
    views, batch, width = anchors_VBD.shape
    count, total, _ = keys_GND.shape
    with without_autocast(anchors_VBD):
        # Not the products but the factors are divided: those are many more.
        scaled = (anchors_VBD / temperature).view(views * batch, width)
        others = (scaled @ keys_GND.reshape(count * total, width).T).view(
            views, batch, count, total
        )
    diagonal = others.diagonal(offset=collectives.rank() * batch, dim1=1, dim2=3)
    own = diagonal.clone()
    diagonal.fill_(float("-inf"))
    return own, others


def own_products(anchors_VBD: Tensor, keys_GBD: Tensor) -> Tensor:
    """Products of anchors with each key of their own sample: (V, G, B)."""
    return (anchors_VBD[:, None] * keys_GBD).sum(dim=-1)


def own_places(batch: int, *, views: int = 1) -> Tensor:
    """Where a global batch has this rank's samples: (B, views) indices into all views' keys."""
    first = torch.arange(batch) + collectives.rank() * batch
    return first[:, None] + torch.arange(views) * batch * collectives.world_size()


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
    """(V, B): the mean over a view's partners, the global views other than itself.

    Args:
        own_VGB: logits of positives.
        others: logsumexp (B,) of the negatives of a view and a partner; asked for no more of them
            than count.
    """
    views, count, _ = own_VGB.shape
    losses = [
        torch.stack(
            [cross_entropy(own_VGB[v, g], others(v, g)) for g in range(count) if g != v]
        ).mean(dim=0)
        for v in range(views)
    ]
    return torch.stack(losses)


def mean_over_partners(pairs_VGB: Tensor) -> Tensor:
    """(V, B): what a view's pairs with the global views other than itself cost on average.

    Args:
        pairs_VGB: of each view, the G global ones first, with each global one.
    """
    views, count, _ = pairs_VGB.shape
    partners = 1 - torch.eye(views, count, dtype=pairs_VGB.dtype, device=pairs_VGB.device)
    shares = partners / partners.sum(dim=1, keepdim=True)
    return (pairs_VGB * shares[:, :, None]).sum(dim=1)  # autocast would round an einsum
