"""Several objectives on one encoding of the views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.objectives.base import Capabilities, EncodedViews, Objective, PairLosses
from pipeline.objectives.configs.composite import sole

_T = TypeVar("_T")


class Composite(Objective):
    """The sum of its parts, for pairs and for terms alike.

    Weights of pairs reach those parts whose loss pairs own, and only their losses are evidence. An
    arbiter looks at the projections of the parts that allow one.
    """

    def __init__(
        self, *, names: Sequence[str], weights: Sequence[float], objectives: Sequence[Objective]
    ) -> None:
        super().__init__(
            feature_width=objectives[0].feature_width, projector=_Projections(objectives)
        )
        self._names = list(names)
        self._weights = list(weights)
        self.capabilities = _common([part.capabilities for part in objectives])
        self.ema = next((part.ema for part in objectives if part.ema), None)
        self.reconstructs = any(part.reconstructs for part in objectives)
        self.views_apart = any(part.views_apart for part in objectives)

    @property
    def parts(self) -> Sequence[Objective]:
        """The objectives."""
        return list(self.projector.parts)  # type: ignore[arg-type]

    @property
    def sole_autoencoder(self) -> Autoencoder | None:
        """That of the one part that has one."""
        return sole(part.sole_autoencoder for part in self.parts)

    def forward(self, views: EncodedViews) -> PairLosses:
        """The weighted sum; each part's loss, terms and logs are logged under its name."""
        found = [part(views) for part in self.parts]
        terms: dict[str, Tensor] = {}
        logs: dict[str, Tensor] = {}
        for name, weight, losses in zip(self._names, self._weights, found, strict=True):
            logs[f"{name}/loss"] = losses.loss.detach().mean()
            logs |= {f"{name}/{log}": value for log, value in losses.logs.items()}
            terms |= {f"{name}/{term}": weight * value for term, value in losses.terms.items()}
        return PairLosses(
            loss=_weighted([losses.loss for losses in found], self._weights),
            evidence=_weighted([losses.evidence for losses in found], self._weights),
            projections=torch.cat(
                [F.normalize(losses.projections, dim=-1) for losses in found], dim=-1
            ),
            arbitrated=self._arbitrated(found),
            terms=terms,
            logs=logs,
        )

    def _arbitrated(self, found: Sequence[PairLosses]) -> Tensor | None:
        shown = [
            F.normalize(losses.projections, dim=-1)
            for part, losses in zip(self.parts, found, strict=True)
            if part.capabilities.arbitration != "none"
        ]
        return torch.cat(shown, dim=-1) if shown else None

    @property
    def arbitrated_width(self) -> int:
        """Of the parts that may be arbitrated."""
        return sum(
            part.arbitrated_width for part in self.parts if part.capabilities.arbitration != "none"
        )

    def negative_weights(self, cosines: Tensor, progress: float) -> Tensor:
        """The parts' shares, each with its weight."""
        shares = [
            F.normalize(part.negative_weights(cosines, progress), p=1, dim=1) for part in self.parts
        ]
        return _weighted(shares, self._weights)

    def after_step(self, progress: float) -> None:
        """Move what the parts move."""
        for part in self.parts:
            part.after_step(progress)

    def constant_rate_parameters(self) -> Iterator[nn.Parameter]:
        """The parts'."""
        for part in self.parts:
            yield from part.constant_rate_parameters()


class _Projections(nn.Module):
    """The parts; their unit projections side by side."""

    def __init__(self, parts: Sequence[Objective]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat(
            [F.normalize(part.project(features), dim=-1) for part in self.parts],  # type: ignore[operator]
            dim=-1,
        )


def _common(parts: Sequence[Capabilities]) -> Capabilities:
    mined = any(part.mining == "per_sample" for part in parts)
    arbitrated = {part.arbitration for part in parts} - {"none"}
    arbitration: Literal["per_view", "per_sample", "none"] = "none"
    if arbitrated:
        arbitration = "per_sample" if "per_sample" in arbitrated else "per_view"
    return Capabilities(
        views=max(part.views for part in parts),
        more_views=all(part.more_views for part in parts),
        local_views=all(part.local_views for part in parts),
        mining="per_sample" if mined else "none",
        arbitration=arbitration,
    )


def _weighted(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return torch.stack([w * value for w, value in zip(weights, values, strict=True)]).sum(dim=0)
