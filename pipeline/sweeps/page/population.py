"""The settings of a population over steps."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.drawing.charts import INK
from pipeline.report.sections.section import Section
from pipeline.sweeps.ledger import Trial
from pipeline.sweeps.page.axis import DimensionAxis
from pipeline.sweeps.page.drawing import BEST, STRONG, USUAL, picture, sample, spread
from pipeline.sweeps.page.facts import SweepFacts
from pipeline.sweeps.page.rendering import Key, Picture, picture_section
from pipeline.sweeps.page.texts import counted
from pipeline.sweeps.spaces.config import PBTConfig

_MEMBERS, _POINTS, _SETTINGS = 60, 200, 24
_OTHERS: Key = ("series-1", "—", "the others")
_EXPLOIT: Key = ("ink", "×", "a member goes on from another's checkpoint, with changed settings")

_Places = list[tuple[int, float]]


def population_section(sweep: SweepFacts) -> Section | None:
    """What each member trained with; None of a sweep without a population."""
    if not isinstance(sweep.config.scheduler, PBTConfig):
        return None
    members = sample([*sweep.ranked, *sweep.unscored], _MEMBERS)
    paths = [*sweep.config.space][:_SETTINGS]
    pictures = [found for path in paths if (found := _schedules(sweep, members, path)) is not None]
    if not pictures:
        return picture_section(
            "population", "Settings over steps", lead=["No member was looked at so far."]
        )
    exploits = sum(len(trial.donors) for trial in sweep.trials)
    return picture_section(
        "population",
        "Settings over steps",
        lead=[f"{counted(len(sweep.trials), 'member')}, {counted(exploits, 'exploit')}."],
        broad=pictures,
        key=[BEST, _OTHERS, _EXPLOIT],
    )


def _schedules(sweep: SweepFacts, members: Sequence[Trial], path: str) -> Picture | None:
    axis = DimensionAxis(sweep.config.space[path])
    lines = [(trial, _line(trial, axis, path)) for trial in members]
    lines = [(trial, line) for trial, line in lines if line]
    if not lines:
        return None
    exploits = [place for trial in members for place in _exploits(trial, axis, path)]

    def draw(axes: Axes) -> None:
        axis.dress(axes, vertical=True)
        # The best above the others.
        for trial, line in sorted(lines, key=lambda pair: pair[0] is sweep.leader):
            best = trial is sweep.leader
            steps, places = zip(*line, strict=True)
            axes.plot(
                steps,
                places,
                color=STRONG if best else USUAL,
                alpha=1.0 if best else 0.5,
                linewidth=2.0 if best else 0.9,
                drawstyle="steps-pre",  # a look tells what was trained with until then
            )
        if exploits:
            axes.plot(*zip(*exploits, strict=True), "x", color=INK, markersize=4, alpha=0.8)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))

    name = sweep.names[path]
    return Picture(
        title=name,
        drawing=picture(
            draw,
            alt=f"{name} of {counted(len(lines), 'member')} over steps",
            size=(7.2, 2.4),
            xlabel="step",
        ),
    )


def _line(trial: Trial, axis: DimensionAxis, path: str) -> _Places:
    looks = [(look.step, look.params.get(path)) for look in trial.looks]
    places = [(step, place) for step, v in looks if (place := axis.place(v)) is not None]
    if not places:
        return []
    before = [donor["step"] for donor in trial.donors if donor["step"] < places[0][0]]
    begun = max(before, default=0)
    return spread([(begun, places[0][1]), *places], _POINTS)


def _exploits(trial: Trial, axis: DimensionAxis, path: str) -> _Places:
    """Where a member took up other settings."""
    found = [(donor["step"], donor["params"].get(path)) for donor in trial.donors]
    return [(step, place) for step, v in found if (place := axis.place(v)) is not None]
