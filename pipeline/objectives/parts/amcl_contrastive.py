"""AMCL over SimCLR and MoCo."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives
from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.ema import EMATwin
from pipeline.objectives.base import (
    Capabilities,
    EncodedViews,
    PairLosses,
    at_least_float32,
    without_autocast,
)
from pipeline.objectives.parts.key_queue import KeyQueue
from pipeline.objectives.parts.pair_temperature import (
    AdaptiveObjective,
    AdaptiveParts,
    temperature_logs,
)
from pipeline.objectives.parts.partners import (
    GLOBAL_VIEWS,
    mean_of_pairs,
    mean_over_partners,
    of_partners,
)


class AdaptiveContrast(AdaptiveObjective):
    """Positives against the most similar negatives, in every head (AMCL, table 1).

    For each head -s+ / tau+ + mean_k(s_k / tau_k) + beta (omega(tau+) - mean_k omega(tau_k)), with
    k over the `top_k` negatives of the highest cosine; heads add up.
    """

    capabilities = Capabilities(
        views=GLOBAL_VIEWS, local_views=True, mining="per_sample", arbitration="per_view"
    )

    def __init__(self, parts: AdaptiveParts, *, top_k: int) -> None:
        super().__init__(parts)
        self._top_k = top_k

    def negative_weights(self, cosines: Tensor, progress: float) -> Tensor:
        """The most similar ones alike, since their temperatures are not known here."""
        count = min(self._top_k, cosines.shape[1])
        bound = cosines.topk(count, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
        return (cosines >= bound).to(cosines.dtype)

    def positive_loss(self, cosines: Tensor, temperatures: Tensor) -> Tensor:
        """Of positives of any shape."""
        return -cosines / temperatures + self.cost(temperatures)

    def negative_loss(self, cosines_MK: Tensor, scores_MK: Tensor) -> tuple[Tensor, Tensor]:
        """Of the most similar of each anchor's negatives: losses (M,), temperatures of these."""
        count = min(self._top_k, cosines_MK.shape[1])
        cosines, chosen = cosines_MK.topk(count, dim=1, sorted=False)
        temperatures = self.pair_temperature.between(scores_MK.gather(1, chosen))
        return (cosines / temperatures - self.cost(temperatures)).mean(dim=1), temperatures

    def summed_up(
        self,
        losses_VB: list[Tensor],
        z_VBCD: Tensor,
        positive: list[Tensor],
        negative: list[Tensor],
    ) -> PairLosses:
        """The heads' losses added up, with all heads' vectors side by side as projections."""
        loss = torch.stack(losses_VB).sum(dim=0)
        return PairLosses(
            loss=loss,
            evidence=loss.detach().mean(dim=0),
            projections=F.normalize(z_VBCD.flatten(2), dim=-1),
            logs=temperature_logs("positive", positive) | temperature_logs("negative", negative),
        )


class AMCLSimCLR(AdaptiveContrast):
    """Negatives are the keys of all other samples of the global batch."""

    def forward(self, views: EncodedViews) -> PairLosses:
        """The loss of all views; `evidence` is their mean."""
        z_VBCD = unit(self.of_views(self.projector, views.features))
        keys_GNCD = torch.stack([collectives.gather(z) for z in z_VBCD[:GLOBAL_VIEWS]])
        losses, positive, negative = [], [], []
        for z_VBD, keys_GND in zip(z_VBCD.unbind(2), keys_GNCD.unbind(2), strict=True):
            own, others = products(z_VBD, keys_GND)
            own_scores, other_scores = products(
                self.pair_temperature.embed(z_VBD), self.pair_temperature.embed(keys_GND)
            )
            temperatures_VGB = self.pair_temperature.between(own_scores)
            pull = mean_of_pairs(self.positive_loss(own, temperatures_VGB))
            push, chosen = self.negative_loss(
                others.flatten(0, 1).flatten(1), other_scores.flatten(0, 1).flatten(1)
            )
            losses.append(pull + push.view_as(pull))
            positive.append(of_partners(temperatures_VGB))
            negative.append(chosen)
        return self.summed_up(losses, z_VBCD, positive, negative)


class AMCLMoCo(AdaptiveContrast):
    """Negatives are each head's past keys of an EMA twin.

    Of the authors' two directions this is query to key, for both views; the other one moves queries
    by their positives alone.
    """

    ema: EMAConfig

    def __init__(self, parts: AdaptiveParts, *, top_k: int, queue: int, ema: EMAConfig) -> None:
        super().__init__(parts, top_k=top_k)
        self.ema = ema
        self.target_projector = EMATwin(self.projector)
        heads = len(parts.heads.heads)
        self.queue = KeyQueue(
            views=GLOBAL_VIEWS, size=queue, width=heads * parts.width, heads=heads
        )

    def forward(self, views: EncodedViews) -> PairLosses:
        """The loss of all views; `evidence` is their mean."""
        assert views.targets is not None
        q_VBCD = unit(self.of_views(self.projector, views.features))
        k_GBCD = unit(self.of_views(self.target_projector, views.targets))
        queue_GKCD = self.queue.keys.unflatten(2, q_VBCD.shape[2:]).to(q_VBCD.dtype)
        losses, positive, negative = [], [], []
        for q_VBD, k_GBD, queue_GKD in zip(
            q_VBCD.unbind(2), k_GBCD.unbind(2), queue_GKCD.unbind(2), strict=True
        ):
            head = _Head(self, q_VBD, k_GBD, queue_GKD)
            losses.append(mean_over_partners(head.pair_loss, views=len(q_VBD)))
            positive += head.positive
            negative += head.negative
        self.queue.offer(k_GBCD.flatten(2))
        return self.summed_up(losses, q_VBCD, positive, negative)

    def after_step(self, progress: float) -> None:
        """Move the key heads and the queue."""
        self.target_projector.follow(self.projector, self.ema.momentum(progress))
        self.queue.advance()


class _Head:
    """Queries, keys and queue of one head, each embedded once, and the temperatures met."""

    def __init__(
        self, objective: AMCLMoCo, q_VBD: Tensor, k_GBD: Tensor, queue_GKD: Tensor
    ) -> None:
        embed = objective.pair_temperature.embed
        self._objective = objective
        self._vectors = q_VBD.unbind(), k_GBD.unbind(), queue_GKD.unbind()
        self._embedded = tuple(embed(z).unbind() for z in (q_VBD, k_GBD, queue_GKD))
        self.positive: list[Tensor] = []
        self.negative: list[Tensor] = []

    def pair_loss(self, view: int, partner: int) -> Tensor:
        """Of a view's queries with a global view's keys and queue: (B,)."""
        queries, keys, queue = self._vectors
        embedded_queries, embedded_keys, embedded_queue = self._embedded
        scores = (embedded_queries[view] * embedded_keys[partner]).sum(dim=-1)
        temperatures = self._objective.pair_temperature.between(scores)
        pull = self._objective.positive_loss(
            (queries[view] * keys[partner]).sum(dim=-1), temperatures
        )
        with without_autocast(pull):
            push, chosen = self._objective.negative_loss(
                queries[view] @ queue[partner].T,
                embedded_queries[view] @ embedded_queue[partner].T,
            )
        self.positive.append(temperatures)
        self.negative.append(chosen)
        return pull + push


def unit(z_VBCD: Tensor) -> Tensor:
    """Each head's rows at length 1, at least float32."""
    return F.normalize(at_least_float32(z_VBCD), dim=-1)


def products(anchors_VBD: Tensor, keys_GND: Tensor) -> tuple[Tensor, Tensor]:
    """Products of anchors with their own samples' keys and with all others'.

    Args:
        anchors_VBD: of this rank's samples, float32 or float64.
        keys_GND: of the global batch, in rank order.

    Returns:
        Own (V, G, B), and others (V, B, G, N) with -inf in place of own ones.
    """
    views, batch, width = anchors_VBD.shape
    count, total, _ = keys_GND.shape
    with without_autocast(anchors_VBD):
        anchors_MD = anchors_VBD.reshape(views * batch, width)
        others = (anchors_MD @ keys_GND.reshape(count * total, width).T).view(
            views, batch, count, total
        )
    diagonal = others.diagonal(offset=collectives.rank() * batch, dim1=1, dim2=3)
    own = diagonal.clone()
    diagonal.fill_(float("-inf"))
    return own, others
