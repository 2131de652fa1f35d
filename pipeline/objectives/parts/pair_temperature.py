"""Temperatures of their own for all pairs, as AMCL learns them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.heads import MultiHead
from pipeline.objectives.base import Objective, at_least_float32, without_autocast


class PairTemperature(nn.Module):
    """The map from pairs of unit vectors to temperatures, one for all heads and signs of pairs.

    tau(a, b) = least + (most - least) * sigmoid(-<phi(a), phi(b)>), so that pairs which agree get a
    low one (AMCL's second release). phi, two layers with a ReLU between, is run once for each
    vector; a matrix product then gives all pairs.
    """

    def __init__(self, *, width: int, hidden: int, least: float, most: float) -> None:
        """Build phi.

        Args:
            width: of the vectors.
            hidden: of phi.
            least: the lowest temperature; without a floor, -cos / tau has no minimum.
            most: the highest one.
        """
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self._least = least
        self._most = most

    def embed(self, vectors: Tensor) -> Tensor:
        """Phi of vectors (..., D), in their own precision."""
        with without_autocast(vectors):
            embedded: Tensor = self.phi(vectors)
        return embedded

    def between(self, scores: Tensor) -> Tensor:
        """Temperatures of pairs with these products of embeddings, any shape."""
        return self._least + (self._most - self._least) * torch.sigmoid(-scores)

    def of_all(self, first_MD: Tensor, second_KD: Tensor) -> Tensor:
        """Temperatures (M, K) of all pairs of embeddings."""
        with without_autocast(first_MD):
            return self.between(first_MD @ second_KD.T)


def omega(temperature: Tensor, *, width: int) -> Tensor:
    """What a temperature costs in AMCL: (d / 2) log tau + 1 / tau, least at tau = 2 / d.

    -cos / tau + omega(tau) is the negative log-density of a Gaussian of variance tau, whose
    minimum is at tau = 2 (1 - cos) / d.

    Args:
        temperature: any shape.
        width: d, of a head's projection.
    """
    return width / 2 * temperature.log() + temperature.reciprocal()


@dataclass(frozen=True, kw_only=True)
class AdaptiveParts:
    """What AMCL is made of, whatever it is built over."""

    feature_width: int  # D of the encoder
    heads: MultiHead  # from (B, D) to (B, C, P)
    width: int  # P
    temperature: PairTemperature
    beta: float  # weight of what temperatures cost


class AdaptiveObjective(Objective):
    """Several heads and a temperature for each of their pairs."""

    def __init__(self, parts: AdaptiveParts) -> None:
        super().__init__(feature_width=parts.feature_width, projector=parts.heads)
        self.pair_temperature = parts.temperature
        self._width = parts.width
        self._beta = parts.beta

    def cost(self, temperatures: Tensor) -> Tensor:
        """What temperatures of any shape cost, with its weight."""
        return self._beta * omega(temperatures, width=self._width)

    def project(self, features: Tensor) -> Tensor:
        """All heads' unit vectors side by side for features (B, D): (B, C * P)."""
        projected: Tensor = self.projector(features)
        return F.normalize(at_least_float32(projected), dim=-1).flatten(1)


def temperature_logs(sign: str, temperatures: Sequence[Tensor]) -> dict[str, Tensor]:
    """Least, mean and greatest temperature of some sort of pairs, of all heads."""
    heads = [values.detach() for values in temperatures]
    return {
        f"temperature_{sign}_least": torch.stack([values.min() for values in heads]).min(),
        f"temperature_{sign}": torch.stack([values.mean() for values in heads]).mean(),
        f"temperature_{sign}_most": torch.stack([values.max() for values in heads]).max(),
    }
