"""The collapse alarm: signs that are cheap enough to look at while training, and their verdict."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import collectives

_LOOKS = 10  # of which the best is judged: a batch's rank varies from one to the next
_FEW_DIRECTIONS = 2.5
_RANK_LEFT = 0.4  # of what the rank was above 1 at its best
_SIZE_LEFT = 0.15  # of the largest spread or deviation


@torch.no_grad()
def collapse_signs(features_BD: Tensor, projections_BD: Tensor) -> dict[str, Tensor]:
    """How the global batch's features and projections vary. Every rank calls this.

    Args:
        features_BD: of one view of this rank's samples, any floating dtype.
        projections_BD: of the same view, as the objective compares them.

    Returns:
        Scalars in float32, equal on all ranks: `feature_spread`, `feature_rank`,
        `feature_deviation` and the same of `projection`; see the functions of these names.
    """
    signs = {}
    for name, local in (("feature", features_BD), ("projection", projections_BD)):
        z_ND = collectives.gather(local.float())
        signs[f"{name}_spread"] = spread(z_ND)
        signs[f"{name}_rank"] = rank(z_ND)
        signs[f"{name}_deviation"] = deviation(z_ND)
    return signs


def spread(z_ND: Tensor) -> Tensor:
    """Root mean square distance of L2-normalised rows from their mean; a scalar.

    Near 1 where rows point everywhere, 0 where all point to one side. It is the standard deviation
    of a dimension times sqrt(D), where all dimensions have the same (Chen & He, Exploring Simple
    Siamese Representation Learning, 2021, section 4.1).

    Args:
        z_ND: (N, D) float32.
    """
    unit = F.normalize(z_ND, dim=1)
    return (unit - unit.mean(dim=0)).square().sum(dim=1).mean().sqrt()


def deviation(z_ND: Tensor) -> Tensor:
    """Root mean square deviation from the mean row, over rows and dimensions; a scalar.

    In contrast to `spread` it falls where rows shrink towards zero and still point everywhere, as
    VICReg's projections do without the variance term.

    Args:
        z_ND: (N, D) float32.
    """
    return (z_ND - z_ND.mean(dim=0)).square().mean().sqrt()


def rank(z_ND: Tensor) -> Tensor:
    """Effective number of directions in which rows differ; a scalar.

    tr(C)^2 / |C|^2 of the covariance C, the exponential of the Renyi-2 entropy of its eigenvalues:
    D where they are equal, 1 where all rows lie on a line, which is dimensional collapse (Jing et
    al., Understanding Dimensional Collapse in Contrastive Self-supervised Learning, 2022). It needs
    no decomposition. 1 if all rows are equal.

    Args:
        z_ND: (N, D) float32.
    """
    centred = z_ND - z_ND.mean(dim=0)
    centred = centred / centred.abs().max().clamp(min=torch.finfo(centred.dtype).tiny)
    with torch.autocast(z_ND.device.type, enabled=False):
        # Both products have the same squares in sum; the smaller one is taken.
        narrow = centred if len(centred) > centred.shape[1] else centred.T
        squares = (narrow.T @ narrow).square().sum()
    value = centred.square().sum().square() / squares
    return torch.where(squares > 0, value, torch.ones_like(value))


@dataclass
class _Sign:
    """One figure's past."""

    recent: list[float] = field(default_factory=list)
    largest: float = 0.0

    def look(self, value: float) -> float | None:
        """The best of the last looks, once there are enough."""
        self.recent = list(deque([*self.recent, value], maxlen=_LOOKS))
        self.largest = max(self.largest, value)
        return max(self.recent) if len(self.recent) == _LOOKS else None


class CollapseAlarm:
    """Says when signs that were better before have become those of a collapse.

    Dimensional collapse: features or projections vary in less than 2.5 directions, and in less than
    0.4 of as many beyond the first as they once did. Complete collapse: their spread or deviation
    is below 15 % of the largest so far. Both in each of the last ten looks, and each said once for
    features and once for projections. Healthy runs start in few directions too, and gain some; so
    an untrained encoder is no alarm.
    """

    def __init__(self) -> None:
        self._signs: dict[str, _Sign] = {}
        self._said: list[str] = []

    def look(self, signs: Mapping[str, float]) -> list[str]:
        """What is to be said of a step's signs; mostly nothing.

        Args:
            signs: as `collapse_signs` names them.
        """
        found = []
        for whose in ("feature", "projection"):
            best = {
                sort: self._sign(whose, sort).look(signs[f"{whose}_{sort}"])
                for sort in ("rank", "spread", "deviation")
            }
            for sort, value in best.items():
                if value is not None and self._is_bad(whose, sort, value):
                    found += self._once(whose, sort, value)
        return found

    def _sign(self, whose: str, sort: str) -> _Sign:
        return self._signs.setdefault(f"{whose}_{sort}", _Sign())

    def _is_bad(self, whose: str, sort: str, value: float) -> bool:
        largest = self._sign(whose, sort).largest
        if sort == "rank":
            return value < _FEW_DIRECTIONS and value - 1 < _RANK_LEFT * (largest - 1)
        return value < _SIZE_LEFT * largest

    def _once(self, whose: str, sort: str, value: float) -> list[str]:
        kind = "dimensional" if sort == "rank" else "complete"
        if f"{kind} {whose}" in self._said:
            return []
        self._said.append(f"{kind} {whose}")
        largest = self._sign(whose, sort).largest
        return [f"{kind} collapse: {whose}_{sort} is {value:.3g}, it was {largest:.3g}"]

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to judge as if it had not been interrupted."""
        signs = {name: asdict(sign) for name, sign in self._signs.items()}
        return {"signs": signs, "said": list(self._said)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self._signs = {name: _Sign(**sign) for name, sign in state["signs"].items()}
        self._said = list(state["said"])
