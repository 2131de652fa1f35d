"""Probe scores beside their floors: what the encoder is worth to someone with labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from pipeline.registry.packages.names import FEATURE_NAMES, PROBE_NAMES
from pipeline.report.drawing.charts import (
    COLOURS,
    FAINT,
    INK,
    Line,
    as_svg,
    figure_style,
    line_chart,
)
from pipeline.report.facts import RunFacts, RunRecord
from pipeline.report.sections.section import Section, rendered

FLOORS = {"untrained": "_untrained", "raw pixels": "_raw"}
ENCODER = "this encoder"
MARKERS = {ENCODER: ("o", COLOURS[0]), "untrained": ("D", INK), "raw pixels": ("s", INK)}


@dataclass(frozen=True, kw_only=True)
class ScoredProbe:
    """A probe's scores: the encoder's first, then those of its floors that were scored."""

    name: str
    title: str
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]

    @property
    def verdict(self) -> str:
        """What the scores say about the encoder and its floors, where intervals let one say it."""
        mine = self.intervals.get(ENCODER)
        if mine is None or len(self.intervals) < len(self.scores) or len(self.scores) == 1:
            return ""
        below = [
            name for name in FLOORS if name in self.scores and mine[1] < self.intervals[name][0]
        ]
        near = [
            name for name in FLOORS if name in self.scores and mine[0] <= self.intervals[name][1]
        ]
        if below:
            return f"below {' and '.join(below)}"
        if near:
            return f"not clearly above {' and '.join(near)}"
        return "clearly above its floors"


def probes_section(run: RunFacts) -> Section:
    """A table, a picture of it, and a curve of each probe over steps."""
    scores, intervals, step = latest_scores(run)
    probes = scored_probes(scores, intervals)
    body = rendered(
        "probes.html",
        probes=probes,
        floors=[name for name in FLOORS if any(name in probe.scores for probe in probes)],
        encoder=ENCODER,
        picture=_picture(probes) if probes else None,
        curves=[*_curves(run)],
        resumed_at=run.resumed_at,
        step=step,
        finished=run.result is not None,
    )
    return Section(anchor="probes", title="Probes", body=body)


def latest_scores(run: RunRecord) -> tuple[Mapping[str, float], Mapping[str, Any], int | None]:
    """Scores and intervals: the result's, else the last evaluation's with its step."""
    if run.result is not None:
        return run.result.get("probes", {}), run.result.get("intervals", {}), None
    if not run.evaluations:
        return {}, {}, None
    last = run.evaluations[-1]
    intervals = {_plain(name): value for name, value in last.get("intervals", {}).items()}
    metrics = {_plain(name): value for name, value in last["metrics"].items()}
    return {n: v for n, v in metrics.items() if n in intervals}, intervals, last["step"]


def _plain(name: str) -> str:
    return name.removeprefix("eval/")


def scored_probes(
    scores: Mapping[str, float], intervals: Mapping[str, Sequence[float]]
) -> list[ScoredProbe]:
    """Scores by probe, each with its floors."""
    suffixes = {ENCODER: "", **FLOORS}
    found = []
    for name in scores:
        if name.endswith(tuple(FLOORS.values())):
            continue
        kinds = {
            what: name + suffix for what, suffix in suffixes.items() if name + suffix in scores
        }
        found.append(
            ScoredProbe(
                name=name,
                title=probe_title(name),
                scores={what: scores[key] for what, key in kinds.items()},
                intervals={
                    what: (intervals[key][0], intervals[key][1])
                    for what, key in kinds.items()
                    if key in intervals
                },
            )
        )
    return found


def probe_title(name: str) -> str:
    """A probe's name spelt out, with the features it looks at if they are not the first kind."""
    for probe, title in PROBE_NAMES.items():
        if name == probe:
            return title
        kind = name.removeprefix(f"{probe}_")
        if kind in FEATURE_NAMES:
            return f"{title}, {FEATURE_NAMES[kind]}"
    return name


def _picture(probes: Sequence[ScoredProbe]) -> Markup:
    rows = [(probe, what) for probe in probes for what in probe.scores]
    with figure_style():
        height = 0.7 + 0.24 * len(rows) + 0.12 * len(probes)
        figure = Figure(figsize=(7, height), layout="constrained")
        axes = figure.add_subplot()
        ticks: list[float] = []
        labels: list[str] = []
        y = 0.0
        for probe in probes:
            for what, score in probe.scores.items():
                marker, colour = MARKERS[what]
                if what in probe.intervals:
                    axes.plot(probe.intervals[what], (y, y), color=colour, linewidth=1.4)
                axes.plot([score], [y], marker=marker, color=colour, markersize=4.5)
                ticks.append(y)
                labels.append(f"{probe.name}: {what}" if what == ENCODER else what)
                y += 1
            y += 0.6
        axes.set_yticks(ticks, labels)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=FAINT, linewidth=0.4, alpha=0.6)
        axes.set_axisbelow(True)
        axes.invert_yaxis()
        axes.set_xlabel("accuracy on test samples, with 95 % interval")
        told = "; ".join(f"{probe.name} {what} {probe.scores[what]:.3f}" for probe, what in rows)
        return as_svg(figure, alt=f"Probe scores: {told}")


def _curves(run: RunFacts) -> Iterator[tuple[str, Markup]]:
    """A curve of each metric that evaluations gave an interval of."""
    names = dict.fromkeys(name for e in run.evaluations for name in e.get("intervals", {}))
    for name in names:
        if _plain(name) not in run.evaluated:
            continue
        series = run.evaluated[_plain(name)]
        by_step = {e["step"]: e.get("intervals", {}).get(name) for e in run.evaluations}
        line = Line(series=series, intervals=[by_step[step] for step in series.steps])
        picture = line_chart(
            [line],
            ylabel="accuracy",
            alt=f"{probe_title(_plain(name))} over steps; {series.values[-1]:.3f} at the end",
            marks=run.resumed_at,
        )
        yield probe_title(_plain(name)), picture
