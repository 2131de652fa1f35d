"""AMCL over SimSiam and Barlow Twins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import collectives
from pipeline.encoders.heads import MultiHead, mlp
from pipeline.objectives.barlow import standardise
from pipeline.objectives.base import (
    Capabilities,
    EncodedViews,
    PairLosses,
    at_least_float32,
    without_autocast,
)
from pipeline.objectives.parts.amcl_contrastive import unit
from pipeline.objectives.parts.pair_temperature import (
    AdaptiveObjective,
    AdaptiveParts,
    temperature_logs,
)
from pipeline.objectives.parts.partners import GLOBAL_VIEWS, mean_of_pairs, of_partners


class AMCLSimSiam(AdaptiveObjective):
    """Predictions against projections without gradient, in every head (AMCL, table 2).

    For each head and direction -cos / tau + 2 beta omega(tau), of which the mean over directions
    counts; heads add up.
    """

    capabilities = Capabilities(
        views=GLOBAL_VIEWS, local_views=True, mining="per_sample", arbitration="per_view"
    )
    views_apart = True

    def __init__(self, parts: AdaptiveParts, *, predictor: Sequence[int]) -> None:
        super().__init__(parts)
        width = parts.width
        self.predictor = MultiHead(mlp(width, (*predictor, width)) for _ in parts.heads.heads)

    def forward(self, views: EncodedViews) -> PairLosses:
        """The loss of all views; `evidence` is their mean."""
        z_VBCD = at_least_float32(self.of_views(self.projector, views.features))
        p_VBCD = unit(self.of_views(self.predictor, z_VBCD))
        targets_GBCD = unit(z_VBCD[:GLOBAL_VIEWS].detach())
        cosines_VGBC = (p_VBCD[:, None] * targets_GBCD).sum(dim=-1)
        embed = self.pair_temperature.embed
        scores_VGBC = (embed(p_VBCD)[:, None] * embed(targets_GBCD)).sum(dim=-1)
        temperatures_VGBC = self.pair_temperature.between(scores_VGBC)
        pairs_VGBC = -cosines_VGBC / temperatures_VGBC + 2 * self.cost(temperatures_VGBC)
        loss = mean_of_pairs(pairs_VGBC.sum(dim=-1))
        return PairLosses(
            loss=loss,
            evidence=loss.detach().mean(dim=0),
            projections=F.normalize(z_VBCD.flatten(2), dim=-1),
            logs=temperature_logs("positive", [of_partners(temperatures_VGBC)]),
        )

    def constant_rate_parameters(self) -> Iterator[nn.Parameter]:
        """The predictors', as in SimSiam."""
        yield from self.predictor.parameters()


class AMCLBarlow(AdaptiveObjective):
    """Dimensions of two views compared, each pair with a temperature (AMCL, table 2).

    For each head sum_l (1 - C_ll / tau_ll)^2 + lambda sum_{l != m} C_lm^2 / tau_lm
    + beta (sum_l omega(tau_ll) - sum_{l != m} omega(tau_lm)). C is the cosine of dimensions,
    standardised over the global batch; the map of temperatures sees the same vectors, where the
    authors' sees them before standardisation. In omega d stays the width of a head.
    """

    capabilities = Capabilities(views=2, mining="none", arbitration="none")
    views_apart = True

    def __init__(self, parts: AdaptiveParts, *, redundancy: float, global_batch: int) -> None:
        super().__init__(parts)
        self._redundancy = redundancy
        self._global_batch = global_batch

    def forward(self, views: EncodedViews) -> PairLosses:
        """All parts as terms, since no pair owns them; every pair's loss is 0. Every rank."""
        z_VBCD = at_least_float32(self.of_views(self.projector, views.features))
        found = [self._of_head(z_VBD) for z_VBD in z_VBCD.unbind(2)]
        names = ("invariance", "redundancy", "temperatures")
        terms = {name: torch.stack([head[name] for head in found]).sum() for name in names}
        nothing = z_VBCD.new_zeros(z_VBCD.shape[:2])
        return PairLosses(
            loss=nothing,
            evidence=nothing[0],
            projections=F.normalize(z_VBCD.flatten(2), dim=-1),
            terms=terms,
            logs={
                **temperature_logs("positive", [head["positive"] for head in found]),
                **temperature_logs("of_all", [head["all"] for head in found]),
            },
        )

    def _filled(self, vectors_DN: Tensor) -> Tensor:
        """Dimensions of a smaller batch, with which `plan` measures, beside samples of zeros."""
        return F.pad(vectors_DN, (0, self._global_batch - vectors_DN.shape[1]))

    def _of_head(self, z_VBD: Tensor) -> dict[str, Tensor]:
        first, second = (collectives.gather(standardise(z_BD)) for z_BD in z_VBD)
        scale = len(first) ** 0.5
        vectors = first.T / scale, second.T / scale
        with without_autocast(first):
            correlation = vectors[0] @ vectors[1].T
        temperature = self.pair_temperature
        temperatures = temperature.of_all(*(temperature.embed(self._filled(v)) for v in vectors))
        diagonal = temperatures.diagonal()
        squares, costs = correlation.square() / temperatures, self.cost(temperatures)
        return {
            "invariance": (1 - correlation.diagonal() / diagonal).square().sum(),
            "redundancy": self._redundancy * (squares.sum() - squares.diagonal().sum()),
            "temperatures": 2 * costs.diagonal().sum() - costs.sum(),
            "positive": diagonal,
            "all": temperatures,
        }
