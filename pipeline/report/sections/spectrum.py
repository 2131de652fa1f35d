"""How the variance of features is spread over directions."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from pipeline.report.drawing.charts import COLOURS, FAINT, as_svg, figure_style
from pipeline.report.encoded_facts import Spectrum
from pipeline.report.facts import RunFacts
from pipeline.report.sections.section import Section, rendered

_SHARE = 0.9
_POINTS = 200


def spectrum_section(run: RunFacts) -> Section | None:
    """The eigenvalues as a curve; None where no samples are encoded, as the map says."""
    if isinstance(run.encoded, str):
        return None
    found = run.encoded.spectrum
    problem: str | None = found if isinstance(found, str) else None
    if not isinstance(found, str) and not len(found.eigenvalues):
        problem = "all features are equal, which is complete collapse."
    values: dict[str, Any] = {"problem": problem}
    if problem is None:
        assert not isinstance(found, str)
        few = directions(found)
        values |= {
            "picture": _picture(found, few),
            "few": few,
            "used": len(found.eigenvalues),
            "width": found.width,
            "count": len(run.encoded.samples.sample_ids),
            "source": run.encoded.samples.source,
        }
    return Section(
        anchor="spectrum",
        title="Spectrum of the covariance",
        body=rendered("spectrum.html", **values),
    )


def directions(found: Spectrum) -> int:
    """In how few directions nine tenths of the variance lie."""
    shares = np.cumsum(found.eigenvalues) / found.eigenvalues.sum()
    return int(np.searchsorted(shares, _SHARE) + 1)


def _picture(found: Spectrum, few: int) -> Markup:
    ranks = np.unique(np.geomspace(1, len(found.eigenvalues), _POINTS).round().astype(int))
    with figure_style():
        figure = Figure(figsize=(5, 2.8))
        axes = figure.add_axes((0.13, 0.17, 0.84, 0.78))
        axes.axvline(few, color=FAINT, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0)
        marker = "o" if len(ranks) < 8 else None
        axes.plot(
            ranks, found.eigenvalues[ranks - 1], color=COLOURS[0], marker=marker, markersize=3
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("rank")
        axes.set_ylabel("eigenvalue, over the largest")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        last = found.eigenvalues[-1]
        return as_svg(
            figure,
            alt=f"Eigenvalues from 1 down to {last:.2g} at rank {len(found.eigenvalues):,}; "
            f"nine tenths of the variance in the first {few:,}",
        )
