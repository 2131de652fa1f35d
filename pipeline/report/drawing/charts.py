"""Figures as SVG that takes its colours and its font from the page it stands in."""

from __future__ import annotations

import hashlib
import io
import logging
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipeline.report.facts import Series

# Building its cache of fonts is matplotlib's own affair.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

INK = "#010101"
FAINT = "#020202"
COLOURS = ("#030303", "#040404")

_STAND_INS = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    COLOURS[0]: "var(--series-1)",
    COLOURS[1]: "var(--series-2)",
}
"""Colours that matplotlib writes, and what the page's style makes of them in either theme."""

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and has the page's colour
    "svg.hashsalt": "report",  # the same figure has the same ids, and the page the same bytes
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,  # a name with dollars in it is a name
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.2,
    "lines.solid_joinstyle": "round",
}
_POINTS = 600
_CHART_INCHES = (3.5, 2.0)
# Left, bottom, width and height of the axes: charts in a grid line up, and no layout is searched.
_ALONE = (0.23, 0.22, 0.74, 0.72)
_BESIDE_LABELS = (0.23, 0.22, 0.54, 0.72)
_LABEL_GAP = 0.09  # of the axes' height, between rows of labels at the ends of lines
_LABEL_LETTERS = 11  # in a row, for which there is room beside the axes


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series in a chart."""

    series: Series
    label: str = ""  # at its end, where a chart has several
    intervals: Sequence[tuple[float, float] | None] = ()  # for each step, as a band


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the style of the page while the body runs, whatever a user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def line_chart(
    lines: Sequence[Line],
    *,
    ylabel: str,
    alt: str,
    marks: Sequence[int] = (),
    from_zero: bool = False,
) -> Markup:
    """Lines over steps, as SVG.

    Args:
        lines: at most two.
        ylabel: what is drawn, with its unit; some twenty letters fit.
        alt: what the picture shows, for those who do not see it.
        marks: steps with a thin vertical line.
        from_zero: show how far values are from zero.
    """
    with figure_style():
        figure = Figure(figsize=_CHART_INCHES)
        axes = figure.add_axes(_BESIDE_LABELS if any(line.label for line in lines) else _ALONE)
        for line, colour in zip(lines, COLOURS, strict=False):
            _draw_line(axes, line, colour)
        for step in marks:
            axes.axvline(step, color=FAINT, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0)
        axes.set_xlabel("step")
        axes.set_ylabel(ylabel)
        axes.yaxis.set_label_coords(0.05, 0.58, transform=figure.transFigure)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        # Every tick with all of its number: a common factor would stand above the chart, cut off.
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if from_zero:
            axes.set_ylim(bottom=0)
        _label_ends(axes, lines)
        return as_svg(figure, alt=alt)


def as_svg(figure: Figure, *, alt: str) -> Markup:
    """A figure as an SVG element that grows and shrinks with the page."""
    written = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    svg = written.getvalue().decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # Within a page this rule would hold for everything; the page's own style has it.
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", svg)
    svg = re.sub(r"; font-family: [^;\"]+", "", svg)
    for stand_in, colour in _STAND_INS.items():
        svg = svg.replace(stand_in, colour)
    svg = _with_own_ids(svg, alt)
    opening, rest = svg.split(">", 1)
    opening = re.sub(r' (width|height)="[^"]*"', "", opening)
    return Markup(f'{opening} role="img" aria-label="{escape(alt)}">{rest}')


def _with_own_ids(svg: str, alt: str) -> str:
    """The figure with no id that another one of the page has, nor any that nothing refers to."""
    own = hashlib.sha256(f"{alt}\n{svg}".encode()).hexdigest()[:8]
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))

    def renamed(found: re.Match[str]) -> str:
        return f' id="{own}-{found[1]}"' if found[1] in used else ""

    svg = re.sub(r' id="([^"]+)"', renamed, svg)
    return re.sub(r'(url\(|href=")#', rf"\g<1>#{own}-", svg)


def thinned(series: Series, *, points: int = _POINTS) -> Series:
    """A series with about so many points: of each stretch the lowest and the highest value."""
    count = len(series.steps)
    if count <= points:
        return series
    kept: list[int] = []
    stretches = points // 2
    for number in range(stretches):
        stretch = range(count * number // stretches, count * (number + 1) // stretches)
        # A value that is none compares as neither; it must not hide the others.
        values = [(series.values[i], i) for i in stretch if not math.isnan(series.values[i])]
        kept += sorted({min(values)[1], max(values)[1]}) if values else stretch[:1]
    return Series(steps=[series.steps[i] for i in kept], values=[series.values[i] for i in kept])


def _draw_line(axes: Axes, line: Line, colour: str) -> None:
    series = thinned(line.series)
    alone = len(series.finite) < 8  # few points, or points between gaps, are no line to be seen
    axes.plot(
        series.steps,
        series.values,
        color=colour,
        marker="o" if alone else None,
        markersize=3,
        clip_on=False,
    )
    known = [
        (step, *interval)
        for step, interval in zip(line.series.steps, line.intervals, strict=False)
        if interval is not None
    ]
    if known:
        steps, low, high = zip(*known, strict=True)
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)


def _label_ends(axes: Axes, lines: Sequence[Line]) -> None:
    """Write each line's label at its end, apart from the others."""
    axes.get_ylim()  # settles the limits, which transforms do not
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = [
        (
            float(to_axes.transform((0, line.series.finite[-1]))[1]),
            textwrap.wrap(line.label, _LABEL_LETTERS),
            colour,
        )
        for line, colour in zip(lines, COLOURS, strict=False)
        if line.label and line.series.finite
    ]
    below = sum(len(rows) for _, rows, _ in ends)  # rows that need room from here down
    ceiling = 1.0
    for height, rows, colour in sorted(ends, reverse=True):
        half = _LABEL_GAP * (len(rows) - 1) / 2
        below -= len(rows)
        place = min(ceiling - half, max(height, below * _LABEL_GAP + half))
        axes.text(1.03, place, "\n".join(rows), color=colour, va="center", transform=axes.transAxes)
        ceiling = place - half - _LABEL_GAP
