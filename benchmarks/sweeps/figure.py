"""The figure of the study of sweeps: what SimCLR's temperature changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.shared.study import Line
from benchmarks.sweeps.lines import PROBES, of_temperature
from benchmarks.sweeps.run import LINE

_COLOURS = {"knn": "#0072b2", "linear": "#d55e00"}  # Okabe and Ito's
_PANEL_COLOUR = "#009e73"
_TICKS = (0.05, 0.1, 0.2, 0.5, 1.0)


def draw(lines: list[Line], path: Path) -> None:
    """Write it as SVG."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "sweeps", "font.size": 9}):
        figure = Figure(figsize=(8.4, 2.9), layout="constrained")
        accuracies, uniformity, tolerance = figure.subplots(1, 3)
        for probe, title in PROBES.items():
            _draw_values(accuracies, lines, _accuracy(probe), _COLOURS[probe], title)
        accuracies.set_title("accuracy, %")
        accuracies.legend(loc="lower left", frameon=False)
        for axes, name in ((uniformity, "uniformity"), (tolerance, "tolerance")):
            _draw_values(axes, lines, _panel(name), _PANEL_COLOUR, name)
            axes.set_title(name)
        for axes in (accuracies, uniformity, tolerance):
            axes.set_xscale("log")
            axes.set_xticks(_TICKS, [f"{value:g}" for value in _TICKS])
            axes.minorticks_off()
            axes.set_xlabel("temperature")
        figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})


def _draw_values(
    axes: Axes, lines: list[Line], value: Callable[[Line], float], colour: str, label: str
) -> None:
    """A dot for each seed, and a line through the means of those that all temperatures have."""
    means = {at: own for at in LINE if (own := of_temperature(lines, at))}
    axes.plot(
        list(means),
        [np.mean([value(line) for line in own]) for own in means.values()],
        color=colour,
        label=label,
    )
    dots = [(at, value(line)) for at in LINE for line in of_temperature(lines, at, all_seeds=True)]
    axes.plot(
        [at for at, _ in dots],
        [height for _, height in dots],
        color=colour,
        marker="o",
        markersize=3,
        linestyle="none",
        alpha=0.5,
    )


def _accuracy(probe: str) -> Callable[[Line], float]:
    return lambda line: 100 * line[probe]


def _panel(name: str) -> Callable[[Line], float]:
    return lambda line: line["panel"][name]
