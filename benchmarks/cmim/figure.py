"""The figure of the study of cMIM: accuracies by batch size, and gradients over training."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.cmim.lines import PROBES, accuracy, of_method
from benchmarks.cmim.run import BATCHES, MIDDLE
from benchmarks.shared.study import Line

_COLOURS = {  # Okabe and Ito's
    "simclr": "#0072b2",
    "vae": "#56b4e9",
    "mim": "#009e73",
    "a_mim": "#e69f00",
    "cmim": "#d55e00",
    "cmim_strong": "#cc79a7",
}
_GRADIENTS = {"reconstruction": "#009e73", "latent": "#e69f00", "contrast": "#d55e00"}


def draw(lines: list[Line], path: Path) -> None:
    """Write it as SVG."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "cmim", "font.size": 9}):
        figure = Figure(figsize=(8.4, 6), layout="constrained")
        *of_probes, gradients = figure.subplots(2, 2).flat
        for axes, probe in zip(of_probes, PROBES, strict=True):
            _draw_accuracies(axes, lines, probe)
        _draw_gradients(gradients, lines)
        handles, labels = of_probes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), frameon=False)
        gradients.legend(loc="lower right", frameon=False)
        figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})


def _draw_accuracies(axes: Axes, lines: list[Line], probe: str) -> None:
    for method, colour in _COLOURS.items():
        points = [
            (b, accuracy(own, probe)) for b in BATCHES if (own := of_method(lines, method, b))
        ]
        if points:
            axes.errorbar(
                [batch for batch, _ in points],
                [mean.value for _, mean in points],
                yerr=[0 if math.isnan(mean.error) else mean.error for _, mean in points],
                color=colour,
                marker="o",
                markersize=4,
                capsize=2,
                label=method,
            )
    axes.set_xscale("log", base=2)
    axes.set_xticks(BATCHES, [str(batch) for batch in BATCHES])
    axes.set_xlabel("batch")
    axes.set_title(f"{PROBES[probe]} accuracy, %")


def _draw_gradients(axes: Axes, lines: list[Line]) -> None:
    """Mean lengths of the terms' gradients by a code's mean, at the middle batch."""
    own = of_method(lines, "cmim", MIDDLE)
    for term, colour in _GRADIENTS.items() if own else []:
        looks = [[look[f"{term}_gradient"] for look in line["looks"]] for line in own]
        steps = [look["step"] for look in own[0]["looks"]]
        axes.plot(steps, np.mean(looks, axis=0), color=colour, label=f"{term}'s gradient")
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_title(f"cMIM's terms at a batch of {MIDDLE}")
