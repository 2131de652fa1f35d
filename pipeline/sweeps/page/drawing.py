"""What the drawings of a sweep have in common."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipeline.report.drawing.charts import COLOURS, as_svg, figure_style
from pipeline.sweeps.page.rendering import Key
from pipeline.sweeps.page.svg import for_page

STRONG, USUAL = COLOURS[1], COLOURS[0]
BEST: Key = ("series-2", "●", "the best")
FINISHED: Key = ("series-1", "●", "finished")
OTHER: Key = ("faint", "●", "stopped early, or still running")

SMALL, BROAD = (3.5, 2.0), (7.2, 3.0)
"""Inches."""
_MARGINS = (0.72, 0.46, 0.14, 0.1)
"""Left, bottom, right, top, in inches."""
_REACH = 3.0
"""Times the range of the middle four fifths: what lies farther out is drawn on the edge."""
_FEWEST_FOR_EDGE = 10

T = TypeVar("T")
Span = tuple[float, float]


def picture(
    draw: Callable[[Axes], None],
    *,
    alt: str,
    size: tuple[float, float] = SMALL,
    xlabel: str = "",
    ylabel: str = "",
    left: float = _MARGINS[0],
    bottom: float = _MARGINS[1],
) -> Markup:
    """A drawing as SVG, in the page's colours.

    Args:
        draw: draws it.
        alt: what it shows, for those who do not see it.
        size: in inches.
        xlabel: below it.
        ylabel: at its left.
        left: inches for what stands there.
        bottom: the same.
    """
    width, height = size
    _, _, right, top = _MARGINS
    with figure_style():
        figure = Figure(figsize=size)
        axes = figure.add_axes(
            (
                left / width,
                bottom / height,
                (width - left - right) / width,
                (height - bottom - top) / height,
            )
        )
        axes.xaxis.set_major_formatter(_PLAIN)
        axes.yaxis.set_major_formatter(_PLAIN)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.yaxis.set_label_coords(0.12 / width, 0.55, transform=figure.transFigure)
        draw(axes)
        return for_page(as_svg(figure, alt=alt))


# Every tick with all of its number: a common factor would stand beside the chart, cut off.
_PLAIN = FuncFormatter(lambda value, _: f"{value:.6g}")


def span_of(values: Iterable[float], *, keep: Iterable[float] = ()) -> Span:
    """From where to where values are drawn: not so far out that most of them are one line.

    Args:
        values: numbers.
        keep: those of them that are to be within it wherever they lie.
    """
    found = np.array([*values], dtype=float)
    kept = [*keep]
    if len(found) >= _FEWEST_FOR_EDGE:
        low, high = np.quantile(found, (0.1, 0.9))
        reach = _REACH * (high - low)
        near = found[(found >= low - reach) & (found <= high + reach)]
        found = near if reach > 0 else found
    ends = [*found, *kept] or [0.0]
    low, high = float(min(ends)), float(max(ends))
    pad = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    return low - pad, high + pad


def within(values: Iterable[float], span: Span) -> list[float]:
    """Values, with those beyond a span on its edge."""
    return [min(max(value, span[0]), span[1]) for value in values]


def edge_notes(values: Sequence[float], span: Span) -> list[str]:
    """That some values are drawn on the edge, if so."""
    beyond = sum(not span[0] <= value <= span[1] for value in values)
    return [f"Drawn on the edge, and beyond it: {beyond:,}."] if beyond else []


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most so many of some items, evenly over their order."""
    if len(items) <= count:
        return list(items)
    return [items[len(items) * number // count] for number in range(count)]


def sample(ranked: Sequence[T], count: int) -> list[T]:
    """At most so many items: half of them the first ones, the others from all over the rest."""
    first = count // 2
    return [*ranked[:first], *spread(ranked[first:], count - first)]


def ticks(span: Span, *, log: bool = False, most: int = 5) -> list[float]:
    """Round numbers within a span."""
    low, high = span
    if not log:
        return [float(t) for t in MaxNLocator(most).tick_values(low, high) if low <= t <= high]
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [
            float(f"{step}e{exponent}") for exponent, step in itertools.product(exponents, steps)
        ]
        found = [tick for tick in found if low <= tick <= high]
        if len(found) <= most:
            break
    return spread(found, most) if len(found) > 1 else [low, high]
