"""Whether features collapsed, by the alarm while it was trained and by the panel."""

from __future__ import annotations

from markupsafe import Markup

from pipeline.report.drawing.charts import Line, line_chart
from pipeline.report.facts import RunFacts
from pipeline.report.sections.answer import Answer, Tone
from pipeline.report.sections.panel import latest_panel
from pipeline.report.sections.section import figure_text

_QUESTION = "Did it collapse?"
_SIGN = "feature_rank"
_FEWEST_LOOKS = 10  # of the alarm, before it says anything
_FEW_DIRECTIONS = 2.0
_MANY_DEAD = 0.5


def collapse_answer(run: RunFacts) -> Answer:
    """What the alarm said, or that it said nothing, and what the panel has."""
    collapses = run.events("collapse")
    not_finite = run.events("not finite")
    series = run.metrics.get(_SIGN)
    looks = 0 if series is None else len(series.steps)
    lines = []
    if not_finite:
        lines.append(f"The loss or its gradient was not finite at step {not_finite[0]['step']:,}.")
    panel = _of_panel(run)
    if collapses:
        first = collapses[0]
        said = f": {first['message']}" if first.get("message") else "."
        return Answer(
            question=_QUESTION,
            verdict=f"There were signs of it, first at step {first['step']:,}",
            tone="bad",
            lines=[f"The alarm said at step {first['step']:,}{said}", *lines, *panel],
            picture=_picture(run),
        )
    verdict: str
    tone: Tone
    if panel:
        verdict, tone = "The alarm was silent, but the panel has signs of it", "bad"
    elif not looks:
        so_far = " yet" if run.result is None else ""
        lines.append(f"The journal has no measures of it{so_far}.")
        return Answer(question=_QUESTION, verdict=f"Not known{so_far}", tone="unknown", lines=lines)
    elif looks < _FEWEST_LOOKS:
        verdict, tone = "Not known: too short for the alarm to judge", "unknown"
    else:
        verdict, tone = ("No sign of it" if run.result else "No sign of it so far"), "good"
    if series is not None:
        lines.insert(
            0,
            f"The alarm looked {looks:,} times, up to step {series.steps[-1]:,}; features of a "
            f"batch then varied in {figure_text(series.values[-1])} directions (effective rank).",
        )
    return Answer(
        question=_QUESTION,
        verdict=verdict,
        tone=tone,
        lines=[*lines, *panel],
        picture=_picture(run),
    )


def _of_panel(run: RunFacts) -> list[str]:
    """What the panel has that only collapsed features have."""
    values, _ = latest_panel(run)
    found = []
    if values.get("rankme", _FEW_DIRECTIONS) < _FEW_DIRECTIONS:
        found.append(f"RankMe is {figure_text(values['rankme'])}: features use hardly a direction.")
    if values.get("dead_dimensions", 0.0) >= _MANY_DEAD:
        found.append(f"{values['dead_dimensions']:.0%} of the features do not vary at all.")
    return found


def _picture(run: RunFacts) -> Markup | None:
    known = [
        Line(series=run.metrics[name], label=label)
        for name, label in ((_SIGN, "features"), ("projection_rank", "projections"))
        if name in run.metrics
    ]
    if not known:
        return None
    told = ", ".join(f"{line.label} {line.series.values[-1]:.4g}" for line in known)
    return line_chart(
        known,
        ylabel="effective rank",
        alt=f"Effective rank of a batch over steps; at the end {told}; "
        f"{len(run.events('collapse'))} alarms",
        marks=[event["step"] for event in run.events("collapse")],
        from_zero=True,
    )
