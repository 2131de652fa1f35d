"""The values of one dimension of a space along an axis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from pipeline.sweeps.page.drawing import spread, ticks
from pipeline.sweeps.page.texts import value_text
from pipeline.sweeps.spaces.dimension import DimensionConfig

_MOST_LISTED = 8
_LETTERS = 14
_LETTERS_LEFT, _LETTERS_BELOW = 8, 36
"""For which a small chart has room."""


class DimensionAxis:
    """Where values lie: numbers at their places, values that are listed side by side."""

    def __init__(self, dimension: DimensionConfig) -> None:
        self._dimension = dimension
        self._log = dimension.log_uniform is not None

    def place(self, value: Any) -> float | None:
        """Where a value is drawn; None if it is outside the space."""
        share = self._dimension.share_of(value)
        if share is None or self._dimension.listed is not None:
            return None if share is None else share * self._last
        return float(value)

    def marks(self, *, letters: int = _LETTERS) -> list[tuple[float, str]]:
        """Some places with what stands there, in so many letters."""
        listed = self._dimension.listed
        if listed is not None:
            numbers = spread(range(len(listed)), _MOST_LISTED)
            return [(float(n), value_text(listed[n], letters=letters)) for n in numbers]
        assert self._dimension.ends is not None
        found = ticks(self._dimension.ends, log=self._log)
        return [(tick, f"{tick:.6g}") for tick in found]

    def share_marks(self) -> list[tuple[float, str]]:
        """The same by their shares of the way, and the ends of numbers."""
        if self._dimension.listed is not None:
            return [(place / self._last, text) for place, text in self.marks()]
        assert self._dimension.ends is not None
        low, high = self._dimension.ends
        inner = [(self._share(tick), text) for tick, text in self.marks()]
        apart = [(share, text) for share, text in inner if 0.1 <= share <= 0.9]
        return [(0.0, f"{low:.4g}"), *apart, (1.0, f"{high:.4g}")]

    def dress(self, axes: Axes, *, vertical: bool = False) -> None:
        """Give an axis of a chart its scale, limits and ticks."""
        axis = axes.yaxis if vertical else axes.xaxis
        if self._log:
            (axes.set_yscale if vertical else axes.set_xscale)("log")
        (axes.set_ylim if vertical else axes.set_xlim)(*self._limits())
        beside = min(len(self._dimension.listed or ()) or 1, _MOST_LISTED)
        letters = _LETTERS_LEFT if vertical else max(3, _LETTERS_BELOW // beside)
        places, texts = zip(*self.marks(letters=letters), strict=True)
        axis.set_major_locator(FixedLocator(places))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
        axis.set_ticks(places, texts)

    @property
    def _last(self) -> float:
        return float(max(1, len(self._dimension.listed or ()) - 1))

    def _share(self, value: float) -> float:
        share = self._dimension.share_of(value)
        return -1.0 if share is None else share

    def _limits(self) -> tuple[float, float]:
        if self._dimension.ends is None:
            return -0.4, len(self._dimension.listed or ()) - 0.6
        low, high = self._dimension.ends
        if self._log:
            pad = (high / low) ** 0.04
            return low / pad, high * pad
        pad = 0.04 * (high - low)
        return low - pad, high + pad


def placed(axis: DimensionAxis, path: str, params: Iterable[dict[str, Any]]) -> list[float | None]:
    """Where configurations lie on an axis; None of those that lack the setting."""
    return [axis.place(p[path]) if path in p else None for p in params]
