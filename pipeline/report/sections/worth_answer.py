"""Whether an encoder is better than its floors, as far as anything that was measured says so."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.figure import Figure

from pipeline.report.drawing.charts import Line, as_svg, figure_style, line_chart
from pipeline.report.facts import RunFacts
from pipeline.report.sections.answer import Answer, Tone
from pipeline.report.sections.panel import MEASURES, latest_panel
from pipeline.report.sections.probes import (
    ENCODER,
    FLOORS,
    MARKERS,
    ScoredProbe,
    latest_scores,
    scored_probes,
)
from pipeline.report.sections.section import figure_text

_QUESTION = "Is it better than its floors?"
_TOLD = ("rankme", "uniformity", "dead_dimensions")
_CLEARLY = "clearly above its floors"


def worth_answer(run: RunFacts) -> Answer:
    """By probes beside their floors; without any, what the label-free panel can say."""
    scores, intervals, step = latest_scores(run)
    probes = scored_probes(scores, intervals)
    beside = [probe for probe in probes if len(probe.scores) > 1]
    when = "" if step is None else f" at step {step:,}"
    if beside:
        return _beside_floors(beside, when)
    if probes:
        told = ", ".join(f"{probe.name} {probe.scores[ENCODER]:.3f}" for probe in probes)
        lines = [f"Probes{when}: {told}."]
        if run.result is None:
            lines.append("The floors are scored when the run ends.")
        return Answer(question=_QUESTION, verdict=_unknown(run), tone="unknown", lines=lines)
    return _without_probes(run)


def _unknown(run: RunFacts) -> str:
    return "Not known yet" if run.result is None else "Not known"


def _beside_floors(probes: Sequence[ScoredProbe], when: str) -> Answer:
    verdicts = [probe.verdict for probe in probes]
    clear = sum(verdict == _CLEARLY for verdict in verdicts)
    below = sum(verdict.startswith("below") for verdict in verdicts)
    verdict: str
    tone: Tone
    if not any(verdicts):
        verdict, tone = "Not known: the scores have no intervals", "unknown"
    elif clear == len(probes):
        number = "the probe" if clear == 1 else f"all {clear} probes"
        verdict, tone = f"Yes, clearly by {number}", "good"
    elif clear:
        verdict, tone = f"By {clear} of {len(probes)} probes, not by all", "doubt"
    elif below:
        verdict, tone = "No: below a floor", "bad"
    else:
        verdict, tone = "Not clearly", "bad"
    lines = [_scores(probe, when) for probe in probes]
    return Answer(
        question=_QUESTION, verdict=verdict, tone=tone, lines=lines, picture=_picture(probes[0])
    )


def _scores(probe: ScoredProbe, when: str) -> str:
    floors = ", ".join(f"{f} {probe.scores[f]:.3f}" for f in FLOORS if f in probe.scores)
    said = f": {probe.verdict}" if probe.verdict else ""
    return f"{probe.name}{when} {probe.scores[ENCODER]:.3f}, beside {floors}{said}."


def _without_probes(run: RunFacts) -> Answer:
    values, _ = latest_panel(run)
    named = [(name, values[name]) for name in _TOLD if name in values]
    if not named:
        line = "Nothing has been evaluated" + (" so far." if run.result is None else ".")
        return Answer(question=_QUESTION, verdict=_unknown(run), tone="unknown", lines=[line])
    told = ", ".join(f"{MEASURES[name].title} {figure_text(value)}" for name, value in named)
    series = run.evaluated.get("rankme")
    picture = None
    if series is not None:
        picture = line_chart(
            [Line(series=series)],
            ylabel="RankMe",
            alt=f"RankMe at evaluations; {series.values[-1]:.4g} at the last",
            from_zero=True,
        )
    lines = [
        f"No probe was run{' so far' if run.result is None else ''}, and without labels nothing "
        "says what the encoder is worth for a task.",
        f"The label-free panel has {told}. It tells a collapse, and runs of one method on the same "
        "data from each other; not whether what was learnt is of use.",
    ]
    return Answer(
        question=_QUESTION, verdict=_unknown(run), tone="unknown", lines=lines, picture=picture
    )


def _picture(probe: ScoredProbe) -> Markup:
    names = [*probe.scores]
    with figure_style():
        figure = Figure(figsize=(3.5, 1.3))
        axes = figure.add_axes((0.27, 0.34, 0.69, 0.62))
        for row, name in enumerate(names):
            marker, colour = MARKERS[name]
            if name in probe.intervals:
                axes.plot(probe.intervals[name], (row, row), color=colour, linewidth=1.6)
            axes.plot([probe.scores[name]], [row], marker=marker, color=colour, markersize=5)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(f"accuracy of {probe.name}, with 95 % interval")
        told = ", ".join(f"{name} {probe.scores[name]:.3f}" for name in names)
        return as_svg(figure, alt=f"Accuracy of {probe.name}: {told}")
