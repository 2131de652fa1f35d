"""Parallel coordinates: every trial as a line across all of its settings to its score."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipeline.report.drawing.charts import FAINT, INK
from pipeline.report.sections.section import Section
from pipeline.sweeps.ledger import Trial
from pipeline.sweeps.page.axis import DimensionAxis
from pipeline.sweeps.page.drawing import (
    BEST,
    STRONG,
    USUAL,
    edge_notes,
    picture,
    sample,
    span_of,
    ticks,
    within,
)
from pipeline.sweeps.page.facts import SweepFacts, value_of
from pipeline.sweeps.page.rendering import Key, Picture, picture_section
from pipeline.sweeps.page.svg import PAPER
from pipeline.sweeps.page.texts import counted, direction
from pipeline.sweeps.spaces.scores import Score

_LINES = 240
_AXES = 24
_MANY = 60
"""Lines, above which they are fainter."""
_INCHES, _HEIGHT = 1.1, 3.4
_USUAL_WIDTH = 9.4
_REM_PER_INCH = 6.2  # at which letters are as large as in other pictures
_LACKING = -0.12
"""Where lines of trials run that lack a setting."""
_TENTH: Key = ("series-1", "●", "the best tenth of those that finished")
_REST: Key = ("faint", "●", "all others")


@dataclass(frozen=True, kw_only=True)
class _Upright:
    """One of the axes."""

    name: str
    marks: Sequence[tuple[float, str]]
    heights: Sequence[float | None]
    """Of each trial, in [0, 1]."""


def parallel_section(sweep: SweepFacts) -> Section | None:
    """All settings in one picture; None without scores."""
    if not sweep.ranked:
        return None
    trials = sample(sweep.ranked, _LINES)
    paths = [*sweep.config.space][:_AXES]
    uprights = [_of_setting(sweep, path, trials) for path in paths]
    notes = [f"{len(trials):,} of {counted(len(sweep.ranked), 'trial')} with a score."]
    notes = notes if len(trials) < len(sweep.ranked) else []
    if len(paths) < len(sweep.config.space):
        notes.append(f"The first {_AXES} of {len(sweep.config.space)} settings.")
    if any(height is None for upright in uprights for height in upright.heights):
        notes.append("Lines below an axis: trials that lack the setting.")
    for score in sweep.scores:
        upright, beyond = _of_score(sweep, score, trials)
        uprights.append(upright)
        notes += beyond
    width = max(_USUAL_WIDTH, _INCHES * len(uprights))
    drawing = picture(
        lambda axes: _draw(axes, uprights, _colours(sweep, trials)),
        alt=f"Settings and score of {counted(len(trials), 'trial')}, one line each, across "
        f"{len(uprights)} axes: {', '.join(upright.name for upright in uprights)}",
        size=(width, _HEIGHT),
        left=0.1,
        bottom=0.1,
    )
    found = Picture(
        drawing=drawing,
        notes=notes,
        width=width * _REM_PER_INCH,
    )
    return picture_section(
        "parallel", "All settings at once", broad=[found], key=[BEST, _TENTH, _REST]
    )


def _of_setting(sweep: SweepFacts, path: str, trials: Sequence[Trial]) -> _Upright:
    dimension = sweep.config.space[path]
    return _Upright(
        name=sweep.names[path],
        marks=DimensionAxis(dimension).share_marks(),
        heights=[dimension.share_of(t.params[path]) if path in t.params else None for t in trials],
    )


def _of_score(
    sweep: SweepFacts, score: Score, trials: Sequence[Trial]
) -> tuple[_Upright, list[str]]:
    values = [value for trial in trials if (value := value_of(trial, score)) is not None]
    leader = value_of(sweep.leader, score) if sweep.leader is not None else None
    low, high = span_of(values, keep=[] if leader is None else [leader])
    upright = _Upright(
        name=direction(score),
        marks=[((tick - low) / (high - low), f"{tick:.6g}") for tick in ticks((low, high))],
        heights=[(value - low) / (high - low) for value in within(values, (low, high))],
    )
    return upright, edge_notes(values, (low, high))


def _colours(sweep: SweepFacts, trials: Sequence[Trial]) -> list[str]:
    tenth = sweep.finished[: math.ceil(len(sweep.finished) / 10)]
    best = {trial.number for trial in tenth}
    leader = sweep.leader.number if sweep.leader is not None else None
    return [
        STRONG if trial.number == leader else USUAL if trial.number in best else FAINT
        for trial in trials
    ]


def _draw(axes: Axes, uprights: Sequence[_Upright], colours: Sequence[str]) -> None:
    axes.set_axis_off()
    axes.set_xlim(-0.5, len(uprights) - 0.4)
    axes.set_ylim(-0.18, 1.25)
    heights = [[_LACKING if h is None else h for h in upright.heights] for upright in uprights]
    lines = np.array(heights).T
    looks: dict[str, dict[str, Any]] = {
        FAINT: {"alpha": 0.35 if len(lines) > _MANY else 0.7, "linewidth": 0.6},
        USUAL: {"alpha": 0.8, "linewidth": 1.1},
        STRONG: {"alpha": 1.0, "linewidth": 2.0},
    }
    for colour, look in looks.items():
        for line, own in zip(lines, colours, strict=True):
            if own == colour:
                axes.plot(line, color=colour, **look)
    for x, upright in enumerate(uprights):
        _draw_upright(axes, x, upright, tick=0.005 * len(uprights))


def _draw_upright(axes: Axes, x: int, upright: _Upright, *, tick: float) -> None:
    axes.plot((x, x), (0, 1), color=INK, linewidth=0.8, zorder=3)
    behind = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for height, text in upright.marks:
        axes.plot((x, x + tick), (height, height), color=INK, linewidth=0.8, zorder=3)
        axes.text(x + 1.5 * tick, height, text, fontsize=7, va="center", bbox=behind, zorder=4)
    if any(height is None for height in upright.heights):
        axes.text(x + 1.5 * tick, _LACKING, "none", fontsize=7, va="center", bbox=behind, zorder=4)
    name = textwrap.fill(upright.name.replace(".", ". "), 14).replace(". ", ".")
    axes.text(x, 1.07, name, fontsize=8, va="bottom", ha="center")
