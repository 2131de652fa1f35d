"""Two scores against each other, and the trials that are best in both ways."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from pipeline.report.sections.section import Section
from pipeline.sweeps import outcome
from pipeline.sweeps.ledger import Trial
from pipeline.sweeps.page.drawing import (
    FINISHED,
    STRONG,
    USUAL,
    edge_notes,
    picture,
    sample,
    span_of,
    within,
)
from pipeline.sweeps.page.facts import SweepFacts, value_of
from pipeline.sweeps.page.rendering import Key, Picture, picture_section
from pipeline.sweeps.page.table import trial_table
from pipeline.sweeps.page.texts import counted, direction
from pipeline.sweeps.spaces.scores import Score

_DOTS, _ROWS = 400, 50
_FRONT: Key = (
    "series-2",
    "●",
    "the front: no other trial is better in one score and as good in the other",
)


def pareto_section(sweep: SweepFacts) -> Section | None:
    """The front and its table; None of one score."""
    if len(sweep.scores) < 2:
        return None
    if not sweep.finished:
        return picture_section("pareto", "Pareto", lead=["No trial has finished with both scores."])
    front = outcome.pareto(sweep.finished, sweep.config)
    notes = []
    if len(front) > _ROWS:
        notes.append(f"The front has {counted(len(front), 'trial')}; the table the first {_ROWS}.")
    return picture_section(
        "pareto",
        "Pareto",
        broad=[_scatter(sweep, front)],
        key=[_FRONT, FINISHED],
        notes=notes,
        more=trial_table(sweep, front[:_ROWS]),
    )


def _scatter(sweep: SweepFacts, front: Sequence[Trial]) -> Picture:
    first, second = sweep.scores
    dots = sample(sweep.finished, _DOTS)
    marked = sorted(sample(front, _DOTS), key=lambda trial: _of(trial, first))
    across, up = ([_of(trial, s) for trial in [*dots, *marked]] for s in sweep.scores)
    ends = [[_of(trial, score) for trial in marked] for score in sweep.scores]
    xspan, yspan = span_of(across, keep=ends[0]), span_of(up, keep=ends[1])

    def draw(axes: Axes) -> None:
        x, y = within(across, xspan), within(up, yspan)
        count = len(dots)
        axes.plot(x[:count], y[:count], "o", color=USUAL, alpha=0.6, markersize=3.5)
        axes.plot(x[count:], y[count:], "o", color=STRONG, markersize=5.5)
        axes.plot(x[count:], y[count:], color=STRONG, linewidth=0.8, alpha=0.7)
        axes.set_xlim(*xspan)
        axes.set_ylim(*yspan)

    return Picture(
        drawing=picture(
            draw,
            alt=f"{direction(second)} over {direction(first)} of {counted(len(dots), 'trial')}, of "
            f"which {len(front):,} are the front",
            size=(7.2, 3.8),
            xlabel=direction(first),
            ylabel=direction(second),
        ),
        notes=[*edge_notes(across, xspan), *edge_notes(up, yspan)],
    )


def _of(trial: Trial, score: Score) -> float:
    value = value_of(trial, score)
    assert value is not None  # of those that are ranked
    return value
