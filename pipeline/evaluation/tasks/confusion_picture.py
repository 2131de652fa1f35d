"""A picture of what classes are taken for."""

from __future__ import annotations

import io
import logging
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from pipeline.evaluation.tasks.per_class import Labels, mistakes_of

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of its cache of fonts

MOST_CLASSES = 30

_OTHERS = "others"
_LETTERS = 18  # of a class's name
_UPRIGHT_LETTERS = 4
_LETTERS_AN_INCH = 11  # of the title
_WITH_NUMBERS = 20  # classes up to which cells are wide enough for them
_CELL_INCHES = 0.42
_LEAST_INCHES = 3.2
_MARGIN_INCHES = 1.9
_DOTS = 150
_STYLE: Any = {
    "font.size": 9,
    "font.family": "sans-serif",
    "text.parse_math": False,  # a name with dollars in it is a name
}
_INK, _FAINT = "#222222", "#888888"
_GAMMA = 0.5  # so that mistakes of some per cent are seen beside a diagonal near 1
_DARK = 0.62  # of the colour's scale, above which figures are white


def confusion_picture(
    truth: Labels, predicted: Labels, names: Sequence[str], *, title: str
) -> bytes:
    """Shares of each class's test samples that are taken for each class, as PNG.

    Of more than 30 classes those that are most often taken for each other, which stand side by
    side, and what is taken for any other class in a last column.

    Args:
        truth: (M,) int64, indexes into `names`.
        predicted: (M,) int64.
        names: of the classes.
        title: above it.
    """
    shown = shown_classes(truth, predicted, len(names))
    shares = _shares(truth, predicted, shown, others=len(shown) < len(names))
    columns = [_short(names[number]) for number in shown]
    rows = list(columns)
    if len(shown) < len(names):
        columns.append(_OTHERS)
        title += f"\nthe {len(shown)} of {len(names)} classes that are confused most"
    side = max(_LEAST_INCHES, _CELL_INCHES * len(shown))
    wide = int(_LETTERS_AN_INCH * (side + _MARGIN_INCHES))
    title = "\n".join(part for line in title.splitlines() for part in textwrap.wrap(line, wide))
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a user's matplotlibrc says
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(
            figsize=(side + _MARGIN_INCHES, side + _MARGIN_INCHES), layout="constrained"
        )
        FigureCanvasAgg(figure)
        _draw(figure.subplots(), shares, rows, columns, title)
        written = io.BytesIO()
        figure.savefig(written, format="png", dpi=_DOTS, facecolor="white")
    return written.getvalue()


def shown_classes(truth: Labels, predicted: Labels, classes: int) -> list[int]:
    """All classes, or of more than 30 those of the most frequent mistakes, pair by pair.

    Args:
        truth: (M,) int64.
        predicted: (M,) int64.
        classes: number of them.
    """
    if classes <= MOST_CLASSES:
        return list(range(classes))
    chosen: dict[int, None] = {}
    for label, other, _ in zip(
        *(part.tolist() for part in mistakes_of(truth, predicted)), strict=True
    ):
        if len(chosen | {label: None, other: None}) <= MOST_CLASSES:
            chosen |= {label: None, other: None}
    # Too few mistakes to fill the picture: classes that have test samples, then any.
    for label in [*np.unique(truth).tolist(), *range(classes)]:
        if len(chosen) < MOST_CLASSES:
            chosen[label] = None
    return list(chosen)


def _shares(
    truth: Labels, predicted: Labels, shown: Sequence[int], *, others: bool
) -> npt.NDArray[np.float64]:
    """(R, R), or (R, R + 1) with others; a class without test samples has a row of zeros."""
    place = {label: row for row, label in enumerate(shown)}
    counts = np.zeros((len(shown), len(shown) + 1))
    for label, other in zip(truth.tolist(), predicted.tolist(), strict=True):
        if label in place:
            counts[place[label], place.get(other, len(shown))] += 1
    shares: npt.NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares if others else shares[:, :-1]


def _draw(
    axes: Axes,
    shares: npt.NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
) -> None:
    norm = PowerNorm(_GAMMA, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap="Blues", norm=norm)
    leaning: Any = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
    upright = max(map(len, columns)) <= _UPRIGHT_LETTERS
    axes.set_xticks(range(len(columns)), columns, **({} if upright else leaning))
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("taken for", color=_FAINT)
    axes.set_ylabel("class", color=_FAINT)
    axes.tick_params(length=0, labelcolor=_INK)
    # White lines between cells.
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", color=_INK, fontsize=10)
    for (row, column), share in np.ndenumerate(shares):
        if len(rows) <= _WITH_NUMBERS and round(100 * share):
            colour = "white" if norm(share) > _DARK else _INK
            axes.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                color=colour,
                fontsize=8,
            )
    bar = axes.figure.colorbar(
        image, ax=axes, shrink=0.5, aspect=18, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1]
    )
    bar.ax.set_yticklabels(["0", "1 %", "5 %", "20 %", "50 %", "100 %"])
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=_FAINT)
    bar.outline.set_visible(False)


def _short(name: str) -> str:
    """Beginning and end of a long name: what tells names apart may be in either."""
    half = _LETTERS // 2
    return name if len(name) <= _LETTERS else f"{name[: half - 1]}…{name[-half:]}"
