"""Scores over one setting at a time, and what a temperature does to features."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from pipeline.report.drawing.charts import FAINT
from pipeline.report.sections.section import Section
from pipeline.sweeps.ledger import FINISHED as STATE_FINISHED
from pipeline.sweeps.ledger import Trial
from pipeline.sweeps.page.axis import DimensionAxis
from pipeline.sweeps.page.drawing import (
    BEST,
    FINISHED,
    OTHER,
    STRONG,
    USUAL,
    edge_notes,
    picture,
    sample,
    span_of,
    within,
)
from pipeline.sweeps.page.facts import SweepFacts, finite
from pipeline.sweeps.page.rendering import Picture, picture_section
from pipeline.sweeps.page.texts import counted, direction
from pipeline.sweeps.spaces.scores import MEASURES

_DOTS = 400
_SETTINGS = 24
_TEMPERATURE = ("temperature", "temperature.start")
_FEATURES = {
    "eval/uniformity": "uniformity",
    "eval/tolerance": "tolerance",
}
_TEMPERATURE_NOTES = (
    "A low temperature makes features uniform and intolerant of what is alike, a high one the "
    "other way round: less is more uniform, more is more tolerant (Wang and Liu, Understanding "
    "the Behaviour of Contrastive Loss, CVPR 2021). The score is usually best in between.",
)
_STOPPED_NOTE = "Scores of trials that were stopped early are of fewer steps."


def temperatures_section(sweep: SweepFacts) -> Section | None:
    """The curve of each temperature; None if none is searched or no trial has a score."""
    paths = [path for path in sweep.config.space if _is_temperature(path)]
    groups = [
        (sweep.names[path], pictures)
        for path in paths
        if (pictures := _pictures(sweep, path, {**_scores(sweep), **_FEATURES}))
    ]
    if not groups:
        return None
    return picture_section(
        "temperatures",
        "Temperature",
        lead=[_better(sweep)],
        small=groups if len(groups) > 1 else [("", groups[0][1])],
        key=[BEST, FINISHED, OTHER],
        notes=[*_TEMPERATURE_NOTES, _STOPPED_NOTE],
    )


def settings_section(sweep: SweepFacts) -> Section | None:
    """The other settings; None if there are none or no trial has a score."""
    others = [path for path in sweep.config.space if not _is_temperature(path)]
    paths = others[:_SETTINGS]
    pictures = [found for path in paths for found in _pictures(sweep, path, _scores(sweep))]
    if not pictures:
        return None
    notes = [_STOPPED_NOTE]
    if len(paths) < len(others):
        notes.append(f"The first {_SETTINGS} of {len(others)} settings.")
    return picture_section(
        "settings",
        "Each setting by itself",
        lead=[_better(sweep)],
        small=[("", pictures)],
        key=[BEST, FINISHED, OTHER],
        notes=notes,
    )


def _is_temperature(path: str) -> bool:
    return any(path == name or path.endswith(f".{name}") for name in _TEMPERATURE)


def _better(sweep: SweepFacts) -> str:
    return f"Of {', '.join(map(direction, sweep.scores))}."


def _scores(sweep: SweepFacts) -> dict[str, str]:
    return {MEASURES[score].metric: str(score) for score in sweep.scores}


def _pictures(sweep: SweepFacts, path: str, metrics: dict[str, str]) -> list[Picture]:
    found = [_scatter(sweep, path, metric, title) for metric, title in metrics.items()]
    return [picture for picture in found if picture is not None]


def _scatter(sweep: SweepFacts, path: str, metric: str, title: str) -> Picture | None:
    axis = DimensionAxis(sweep.config.space[path])
    known = [
        (trial, place, value)
        for trial in [*sweep.ranked, *sweep.unscored]
        if path in trial.params
        and (place := axis.place(trial.params[path])) is not None
        and (value := finite(trial.metrics.get(metric))) is not None
    ]
    if not known:
        return None
    dots = sample(known, _DOTS)
    best = [dot for dot in dots if dot[0] is sweep.leader]
    values = [value for _, _, value in dots]
    span = span_of(values, keep=[value for _, _, value in best])

    def draw(axes: Axes) -> None:
        finished = [dot for dot in dots if dot[0].state == STATE_FINISHED]
        stopped = [dot for dot in dots if dot[0].state != STATE_FINISHED]
        axis.dress(axes)
        axes.set_ylim(*span)
        for some, colour, size in (
            (stopped, FAINT, 3.0),
            (finished, USUAL, 3.5),
            (best, STRONG, 6),
        ):
            _draw_dots(axes, some, span, colour=colour, size=size)

    name = sweep.names[path]
    return Picture(
        title=f"{title} over {name}",
        drawing=picture(
            draw,
            alt=f"{title} of {counted(len(dots), 'trial')} over {name}",
            xlabel=name,
        ),
        notes=edge_notes(values, span),
    )


def _draw_dots(
    axes: Axes,
    dots: Sequence[tuple[Trial, float, float]],
    span: tuple[float, float],
    *,
    colour: str,
    size: float,
) -> None:
    if dots:
        _, places, values = zip(*dots, strict=True)
        alpha = 1.0 if colour == STRONG else 0.65
        axes.plot(
            places,
            within(values, span),
            "o",
            color=colour,
            alpha=alpha,
            markersize=size,
            markeredgewidth=0,
            clip_on=False,
        )
