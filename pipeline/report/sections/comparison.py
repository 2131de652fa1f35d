"""The run beside another one: probes, curves, and in what their recipes differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from markupsafe import Markup

from pipeline.report.drawing.charts import Line, line_chart
from pipeline.report.facts import RunFacts, RunRecord, Series
from pipeline.report.sections.heading import state
from pipeline.report.sections.panel import MEASURES, latest_panel
from pipeline.report.sections.probes import latest_scores, probe_title
from pipeline.report.sections.section import Section, rendered
from pipeline.runs.identity import flatten

_CURVES = {
    "loss": "Loss",
    "learning_rate": "Learning rate",
    "gradient_norm": "Gradient norm",
    "images_per_second": "Images per second",
    "feature_rank": "Effective rank of features",
    "feature_spread": "Spread of features",
    "alignment": "Distance of pairs",
    "uniformity": "Uniformity of projections",
}
_OF_PROBES = tuple(
    f"evaluate.{name}"
    for name in ("train", "test", "validation", "max_samples", "features", "last_layers")
)
_MOST_DIFFERENCES = 100
_LETTERS = 200  # of a setting's value
_LABELS = ("this", "other")


@dataclass(frozen=True, kw_only=True)
class ComparedProbe:
    """A score of both runs."""

    title: str
    scores: tuple[float, float]
    intervals: tuple[tuple[float, float] | None, tuple[float, float] | None]

    @property
    def verdict(self) -> str:
        """Whether the difference is more than the intervals leave open."""
        mine, others = self.intervals
        if mine is None or others is None:
            return "not known: there are no intervals"
        if mine[0] > others[1]:
            return "this run is clearly higher"
        if mine[1] < others[0]:
            return "this run is clearly lower"
        return "no clear difference: the intervals overlap"


def comparison_section(run: RunFacts) -> Section | None:
    """Both beside each other; None where there is no other."""
    other = run.against
    if other is None:
        return None
    step, other_step = latest_scores(run)[2], latest_scores(other)[2]
    differences = _differences(run, other)
    listed = differences if isinstance(differences, str) else differences[:_MOST_DIFFERENCES]
    body = rendered(
        "comparison.html",
        names=(run.name, other.name),
        states=(state(run), state(other)),
        probes=[*_probes(run, other)],
        lacking=[*_lacking(run, other)],
        steps=(step, other_step),
        cautions=[*_cautions(run, other)],
        panel=[*_panel(run, other)],
        curves=[*_curves(run, other)],
        differences=listed,
        more=0 if isinstance(differences, str) else len(differences) - len(listed),
    )
    return Section(anchor="comparison", title=f"Beside {other.name}", body=body)


def _probes(run: RunRecord, other: RunRecord) -> Iterator[ComparedProbe]:
    (mine, own, _), (theirs, their_own, _) = latest_scores(run), latest_scores(other)
    for name in mine:
        if name in theirs:
            yield ComparedProbe(
                title=_title(name),
                scores=(mine[name], theirs[name]),
                intervals=(_ends(own.get(name)), _ends(their_own.get(name))),
            )


def _title(name: str) -> str:
    for suffix, floor in (("_untrained", "untrained"), ("_raw", "raw pixels")):
        if name.endswith(suffix):
            return f"{probe_title(name.removesuffix(suffix))}: {floor}"
    return probe_title(name)


def _ends(interval: list[float] | None) -> tuple[float, float] | None:
    return None if interval is None else (interval[0], interval[1])


def _lacking(run: RunRecord, other: RunRecord) -> Iterator[str]:
    """Scores that one of them alone has."""
    (mine, _, _), (theirs, _, _) = latest_scores(run), latest_scores(other)
    for name in {**mine, **theirs}:
        if (name in mine) != (name in theirs):
            yield f"{_title(name)} ({_LABELS[name not in mine]} run alone)"


def _cautions(run: RunRecord, other: RunRecord) -> Iterator[str]:
    fingerprints = {r.identity.get("data fingerprint") for r in (run, other)}
    if len(fingerprints) > 1:
        yield "They were trained on different data, as its fingerprint says."
    if run.identity.get("objective.kind") != other.identity.get("objective.kind"):
        yield "Their objectives differ: losses, and the panel, say nothing about which is better."
    mine, theirs = _settings(run), _settings(other)
    if not isinstance(mine, str) and not isinstance(theirs, str):
        names = [name for name in _OF_PROBES if mine.get(name) != theirs.get(name)]
        if names:
            yield f"Probes differ in {', '.join(names)}, and so may not be of the same samples."


def _panel(run: RunRecord, other: RunRecord) -> Iterator[tuple[str, float, float]]:
    (mine, _), (theirs, _) = latest_panel(run), latest_panel(other)
    for name, value in mine.items():
        if name in theirs:
            title = MEASURES[name].title if name in MEASURES else name
            yield title, value, theirs[name]


def _curves(run: RunRecord, other: RunRecord) -> Iterator[tuple[str, Markup]]:
    for name, title in _CURVES.items():
        if name in run.metrics and name in other.metrics:
            yield title, _chart(title, run.metrics[name], other.metrics[name])
    for name, series in run.evaluated.items():
        if name in other.evaluated and max(len(series.steps), len(other.evaluated[name].steps)) > 1:
            title = MEASURES[name].title if name in MEASURES else probe_title(name)
            yield title, _chart(title, series, other.evaluated[name])


def _chart(title: str, mine: Series, theirs: Series) -> Markup:
    return line_chart(
        [
            Line(series=series, label=label)
            for series, label in zip((mine, theirs), _LABELS, strict=True)
        ],
        ylabel=title.partition(" (")[0],
        alt=f"{title} of both runs over steps; at the end {mine.values[-1]:.4g} of this, "
        f"{theirs.values[-1]:.4g} of the other",
    )


def _differences(run: RunRecord, other: RunRecord) -> list[tuple[str, str, str]] | str:
    """Settings whose values differ, or why that is not known."""
    mine, theirs = _settings(run), _settings(other)
    if isinstance(mine, str):
        return f"this run's {mine}"
    if isinstance(theirs, str):
        return f"the other run's {theirs}"
    return [
        (name, _told(mine, name), _told(theirs, name))
        for name in {**mine, **theirs}
        if (name in mine, mine.get(name)) != (name in theirs, theirs.get(name))
    ]


def _settings(run: RunRecord) -> dict[str, object] | str:
    """A recipe's settings by name, of whatever version, or what is wrong with it."""
    try:
        values = yaml.safe_load(run.recipe_yaml)
    except yaml.YAMLError:
        return "recipe is no YAML."
    return dict(flatten(values)) if isinstance(values, dict) else "recipe has no settings."


def _told(settings: dict[str, object], name: str) -> str:
    if name not in settings:
        return "–"
    text = str(settings[name]) if settings[name] is not None else "null"
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
