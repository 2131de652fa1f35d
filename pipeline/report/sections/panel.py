"""The label-free panel: measures of features that need no probe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.report.drawing.charts import Line, line_chart
from pipeline.report.facts import RunFacts, RunRecord
from pipeline.report.sections.section import Section, rendered


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a measure of the panel is, for one who has not read its paper."""

    title: str
    what: str
    healthy: str
    from_zero: bool = False  # where its curve begins


MEASURES = {
    "rankme": Measure(
        title="RankMe",
        what="effective number of directions that features use, 1 to their number",
        healthy="higher; near 1 is collapse",
    ),
    "alpha_req": Measure(
        title="α-ReQ",
        what="how fast the covariance's eigenvalues fall, as the exponent of a power law",
        healthy="about 1; far above, few directions matter; far below, noise fills all",
    ),
    "von_neumann_entropy": Measure(
        title="von Neumann entropy",
        what="entropy of the covariance's eigenvalues in nats, 0 to the log of the features",
        healthy="higher; 0 is collapse",
    ),
    "lidar": Measure(
        title="LiDAR",
        what="effective number of directions that tell samples apart, beside what views change",
        healthy="higher, if alignment is low too",
    ),
    "idest": Measure(
        title="IdEst",
        what="intrinsic dimension: how many dimensions the samples themselves have, whatever the "
        "features' number; above 1",
        healthy="lower after the first epochs, as its authors found; collapsed features have few",
    ),
    "uniformity": Measure(
        title="uniformity",
        what="how evenly features lie on the sphere, 0 to about 4",
        healthy="higher; 0 is collapse",
    ),
    "alignment": Measure(
        title="alignment",
        what="squared distance of two views of a sample on the sphere, 0 to 4; unrelated ones: 2",
        healthy="lower, as long as uniformity is high",
    ),
    "spread_mean": Measure(
        title="spread",
        what="deviation of normalised features, mean over dimensions; 1 if they point everywhere",
        healthy="towards 1; 0 is collapse",
    ),
    "dead_dimensions": Measure(
        title="dead dimensions",
        what="share of features that do not vary, 0 to 1",
        healthy="0",
        from_zero=True,
    ),
    "diffusion_entropy": Measure(
        title="diffusion entropy",
        what="entropy in bits of a diffusion between samples: how many groups can be told apart",
        healthy="well above 0; what is best depends on the data",
    ),
    "tolerance": Measure(
        title="tolerance",
        what="mean cosine of samples of one class, -1 to 1; needs labels",
        healthy="higher, as long as uniformity is high",
    ),
    "dsmi": Measure(
        title="DSMI",
        what="bits that the geometry of features tells about labels, at most log2 of the classes",
        healthy="higher; 0 says nothing about labels",
    ),
}


def panel_section(run: RunFacts) -> Section:
    """A table with what each measure means, and small curves over steps."""
    values, step = latest_panel(run)
    rows = [(name, _measure(name), value) for name, value in values.items()]
    body = rendered(
        "panel.html", rows=rows, curves=[*_curves(run)], resumed_at=run.resumed_at, step=step
    )
    return Section(anchor="panel", title="Label-free panel", body=body)


def _measure(name: str) -> Measure:
    return MEASURES.get(name, Measure(title=name, what="", healthy=""))


def latest_panel(run: RunRecord) -> tuple[Mapping[str, float], int | None]:
    """The result's panel, else the last values of evaluations and the step of the last one."""
    if run.result is not None and run.result.get("panel"):
        return run.result["panel"], None
    known = {name: run.evaluated[name] for name in MEASURES if name in run.evaluated}
    if not known:
        return {}, None
    last = max(series.steps[-1] for series in known.values())
    return {name: series.values[-1] for name, series in known.items()}, last


def _curves(run: RunFacts) -> Iterator[tuple[str, Markup]]:
    for name, measure in MEASURES.items():
        series = run.evaluated.get(name)
        if series is not None and len(series.steps) > 1:
            yield (
                measure.title,
                line_chart(
                    [Line(series=series)],
                    ylabel=measure.title,
                    alt=f"{measure.title} over steps; {series.values[-1]:.4g} at the end",
                    marks=run.resumed_at,
                    from_zero=measure.from_zero,
                ),
            )
