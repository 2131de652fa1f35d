"""The figure of the study of bad pairs: who is found when, and what weights and lists gain."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.bad_pairs.lines import PROBES, gain, of_conditions
from benchmarks.bad_pairs.run import SETUPS
from benchmarks.shared.study import Line

_COLOURS = {  # Okabe and Ito's
    "simclr": "#0072b2",
    "simclr, a fifth faulty": "#56b4e9",
    "simclr on series": "#009e73",
    "lejepa": "#e69f00",
    "vicreg": "#d55e00",
    "cmim": "#cc79a7",
}
_SORTS = {"noisy_auc": "noise", "faulty_auc": "faulty", "outlier_auc_of_loss": "outlying crops"}
_WAYS = {
    "planted, chosen": "weights",
    "planted, listed left out": "list",
    "planted, all left out": "all left out",
}
_MARKERS = {"knn": "o", "linear": "s"}

Found = dict[str, dict[str, list[Line]]]


def draw(lines: list[Line], path: Path) -> None:
    """Write it as SVG."""
    found = {title: of_conditions(lines, SETUPS[title]) for title in _COLOURS}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "bad pairs", "font.size": 9}):
        figure = Figure(figsize=(8.4, 7.4), layout="constrained")
        axes = figure.subplot_mosaic(
            [list(_SORTS), ["gains"] * len(_SORTS)], height_ratios=[1, 1.5]
        )
        for sort in _SORTS:
            _draw_detection(axes[sort], found, sort)
        _draw_gains(axes["gains"], found)
        handles, labels = axes["noisy_auc"].get_legend_handles_labels()
        faulty = axes["faulty_auc"].get_legend_handles_labels()
        of_titles = dict(zip([*labels, *faulty[1]], [*handles, *faulty[0]], strict=True))
        figure.legend(
            of_titles.values(), of_titles, loc="outside upper left", ncols=6, frameon=False
        )
        axes["gains"].legend(loc="lower right", frameon=False)
        figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})


def _draw_detection(axes: Axes, found: Found, sort: str) -> None:
    """Means over seeds of a miner that only remembers."""
    for title, colour in _COLOURS.items():
        own = [line["epochs"] for line in found[title].get("planted", ())]
        if own and sort in own[0][-1]:
            epochs = [epoch["epoch"] for epoch in own[0]]
            curve = np.mean([[epoch[sort] for epoch in of_seed] for of_seed in own], axis=0)
            axes.plot(epochs, curve, color=colour, label=title)
    axes.set_ylim(0.5, 1.02)
    axes.set_xlabel("epochs")
    axes.set_title(f"AUC, {_SORTS[sort]}")


def _draw_gains(axes: Axes, found: Found) -> None:
    """A row for each way of each setup, with a mark for each probe."""
    rows: list[str] = []
    told: set[str] = set()
    for title, of_setup in found.items():
        for name, way in _WAYS.items():
            if name not in of_setup:
                continue
            for probe, marker in _MARKERS.items():
                mean = gain(of_setup[name], of_setup["planted"], probe)
                axes.errorbar(
                    mean.value,
                    len(rows) + (0.15 if probe == "linear" else -0.15),
                    xerr=0 if math.isnan(mean.error) else mean.error,
                    color=_COLOURS[title],
                    marker=marker,
                    markersize=4,
                    capsize=2,
                    label=None if probe in told else PROBES[probe],
                )
                told.add(probe)
            rows.append(f"{title}: {way}")
    axes.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_title("accuracy on planted data, in points above a training that does nothing")
