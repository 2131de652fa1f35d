"""Scores over trials, and over the steps of each trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.drawing.charts import FAINT, thinned
from pipeline.report.facts import Series
from pipeline.report.sections.section import Section
from pipeline.sweeps.ledger import FINISHED as STATE_FINISHED
from pipeline.sweeps.ledger import Trial
from pipeline.sweeps.page.drawing import (
    BEST,
    BROAD,
    FINISHED,
    OTHER,
    STRONG,
    USUAL,
    Span,
    edge_notes,
    picture,
    sample,
    span_of,
    within,
)
from pipeline.sweeps.page.facts import SweepFacts, finite, value_of
from pipeline.sweeps.page.rendering import Picture, picture_section
from pipeline.sweeps.page.texts import counted, direction, score_text
from pipeline.sweeps.spaces.scores import MEASURES, Score

_CURVES = 160
_POINTS = 60
"""Of a curve."""

_Curve = tuple[Trial, Series]


def history_section(sweep: SweepFacts) -> Section:
    """The score of each finished trial, and the best so far."""
    if not sweep.finished:
        return picture_section("history", "History", lead=["No trial has finished with a score."])
    return picture_section(
        "history",
        "History",
        broad=[_history(sweep, score) for score in sweep.scores],
        key=[FINISHED, ("series-2", "—", "the best so far")],
    )


def _history(sweep: SweepFacts, score: Score) -> Picture:
    trials = sorted(sweep.finished, key=lambda trial: trial.number)
    values = [value for trial in trials if (value := value_of(trial, score)) is not None]
    series = Series(steps=[trial.number for trial in trials], values=values)
    best = _best_so_far(series, score)
    span = span_of(values, keep=best.values[-1:])

    def draw(axes: Axes) -> None:
        dots = thinned(series)
        axes.plot(
            dots.steps, within(dots.values, span), "o", color=USUAL, alpha=0.6, markersize=3.5
        )
        line = thinned(best)
        axes.plot(line.steps, within(line.values, span), color=STRONG, drawstyle="steps-post")
        axes.set_ylim(*span)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))

    alt = (
        f"{direction(score)} of {counted(len(trials), 'finished trial')} over their numbers; the "
        f"best {score_text(best.values[-1])}"
    )
    return Picture(
        drawing=picture(draw, alt=alt, size=BROAD, xlabel="trial", ylabel=direction(score)),
        notes=edge_notes(values, span),
    )


def _best_so_far(series: Series, score: Score) -> Series:
    """Where it gets better, and the last trial."""
    steps, values, best = [], [], -math.inf
    for number, value in zip(series.steps, series.values, strict=True):
        merit = MEASURES[score].merit(value)
        if merit > best:
            best = merit
            steps.append(number)
            values.append(value)
    return Series(steps=[*steps, series.steps[-1]], values=[*values, values[-1]])


def curves_section(sweep: SweepFacts) -> Section:
    """The score of each trial while it trains."""
    pictures = [found for score in sweep.scores if (found := _curves(sweep, score)) is not None]
    if not pictures:
        return picture_section(
            "curves", "Curves", lead=["No trial was looked at while it trained."]
        )
    return picture_section(
        "curves",
        "Curves",
        broad=pictures,
        key=[BEST, FINISHED, OTHER],
        notes=["A line ends with its dot: where many do, the scheduler decided."],
    )


def _curves(sweep: SweepFacts, score: Score) -> Picture | None:
    ordered = [*sweep.ranked, *sweep.unscored]
    known = [(trial, series) for trial in ordered if (series := _curve(trial, score)).steps]
    if not known:
        return None
    drawn = sample(known, _CURVES)
    best = [pair for pair in drawn if pair[0] is sweep.leader]
    values = [value for _, series in drawn for value in series.values]
    span = span_of(values, keep=[series.values[-1] for _, series in best])

    def draw(axes: Axes) -> None:
        # What is fainter lies below.
        stopped = [pair for pair in drawn if pair[0].state != STATE_FINISHED]
        finished = [pair for pair in drawn if pair[0].state == STATE_FINISHED]
        _draw_curves(axes, stopped, span, colour=FAINT, alpha=0.55)
        _draw_curves(axes, finished, span, colour=USUAL, alpha=0.55)
        _draw_curves(axes, best, span, colour=STRONG, alpha=1.0, width=2.0)
        axes.set_ylim(*span)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))

    alt = f"{direction(score)} of {counted(len(drawn), 'trial')} over steps"
    return Picture(
        drawing=picture(draw, alt=alt, size=BROAD, xlabel="step", ylabel=direction(score)),
        notes=[*_thinned_note(len(drawn), len(known)), *edge_notes(values, span)],
    )


def _curve(trial: Trial, score: Score) -> Series:
    metric = MEASURES[score].metric
    pairs = [(look.step, finite(look.metrics.get(metric))) for look in trial.looks]
    known = [(step, value) for step, value in pairs if value is not None]
    series = Series(steps=[step for step, _ in known], values=[value for _, value in known])
    return thinned(series, points=_POINTS)


def _draw_curves(
    axes: Axes,
    curves: Sequence[_Curve],
    span: Span,
    *,
    colour: str,
    alpha: float,
    width: float = 0.9,
) -> None:
    for _, series in curves:
        values = within(series.values, span)
        axes.plot(series.steps, values, color=colour, alpha=alpha, linewidth=width)
    ends = [(series.steps[-1], within(series.values, span)[-1]) for _, series in curves]
    if ends:
        axes.plot(
            *zip(*ends, strict=True), "o", color=colour, alpha=alpha, markersize=3, clip_on=False
        )


def _thinned_note(drawn: int, known: int) -> Iterator[str]:
    if drawn < known:
        yield (
            f"{drawn:,} of {known:,} trials: the best {drawn // 2}, and others from all over the "
            "rest."
        )
