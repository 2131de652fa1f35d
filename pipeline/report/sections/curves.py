"""Curves of what the journal noted while training went on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

from markupsafe import Markup

from pipeline.report.drawing.charts import Line, line_chart
from pipeline.report.facts import RunFacts, Series
from pipeline.report.sections.section import Section, rendered


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure or two of the journal over steps."""

    title: str
    ylabel: str
    names: tuple[str, ...]  # metrics, each a line
    labels: tuple[str, ...] = ("",)
    percent: bool = False
    from_zero: bool = False
    about: str = ""


_OF_BOTH = ("features", "projections")
_ENDS = ("least", "most")
_CHARTS = (
    Chart(title="Loss", ylabel="loss", names=("loss",)),
    Chart(title="Learning rate", ylabel="learning rate", names=("learning_rate",)),
    Chart(title="Gradient norm", ylabel="gradient's L2 norm", names=("gradient_norm",)),
    Chart(
        title="Spread of a batch",
        ylabel="RMS distance",
        names=("feature_spread", "projection_spread"),
        labels=_OF_BOTH,
        from_zero=True,
        about="Distance of L2-normalised rows from their mean: near 1 they point everywhere, at 0 "
        "all are equal, which is complete collapse.",
    ),
    Chart(
        title="Effective rank of a batch",
        ylabel="directions",
        names=("feature_rank", "projection_rank"),
        labels=_OF_BOTH,
        from_zero=True,
        about="How many directions rows differ in: near 1 is dimensional collapse.",
    ),
    Chart(
        title="Deviation of a batch",
        ylabel="standard deviation",
        names=("feature_deviation", "projection_deviation"),
        labels=_OF_BOTH,
        from_zero=True,
        about="Mean over dimensions: towards 0 the rows become equal.",
    ),
    Chart(
        title="Distance of pairs",
        ylabel="squared distance",
        names=("alignment",),
        from_zero=True,
        about="Of a sample's two projections, L2-normalised (alignment): 0 they are equal, 2 they "
        "have nothing in common.",
    ),
    Chart(
        title="Uniformity of projections",
        ylabel="-log E exp(-2 d²)",
        names=("uniformity",),
        from_zero=True,
        about="Near 4 projections lie everywhere on the sphere, at 0 all in one place.",
    ),
    Chart(
        title="Negatives",
        ylabel="%",
        names=("negative_entropy", "false_negatives"),
        labels=("entropy of their weights", "as near as the pair"),
        percent=True,
        from_zero=True,
        about="Entropy of 100 %: all negatives of a sample are pushed alike, near 0: one of them. "
        "Those as near as the sample's own other view may be of the same sort.",
    ),
    Chart(
        title="Samples turned down",
        ylabel="% of a batch",
        names=("miner_bad_share",),
        percent=True,
        from_zero=True,
        about="Samples that the miner finds noisy or faulty: none until its warm-up is over.",
    ),
    Chart(
        title="Weights by the miner",
        ylabel="weight",
        names=("miner_weight_least", "miner_weight_most"),
        labels=_ENDS,
        from_zero=True,
        about="Of a batch's samples; 1 is that of a clean one.",
    ),
    Chart(
        title="Weights by the arbiter",
        ylabel="weight",
        names=("arbiter_weight_least", "arbiter_weight_most"),
        labels=_ENDS,
        from_zero=True,
        about="Of a batch's views; they are 1 on average, and all 1 until the arbiter begins.",
    ),
    Chart(
        title="Effective share of pairs",
        ylabel="%",
        names=("miner_effective_share", "arbiter_effective_share"),
        labels=("miner", "arbiter"),
        percent=True,
        from_zero=True,
        about="As how large a share of the batch, all weighed alike, weighted pairs count, "
        "(Σw)² / (n Σw²): 100 % where weights are equal.",
    ),
)
OF_SPEED = (
    Chart(title="Speed", ylabel="images/s", names=("images_per_second",), from_zero=True),
    Chart(
        title="Waiting for data",
        ylabel="% of the time",
        names=("data_wait",),
        percent=True,
        from_zero=True,
    ),
)
"""Charts of another section."""

_OWN_CHARTS = (
    Chart(title="Temperature", ylabel="temperature", names=("temperature",)),
    Chart(
        title="Reconstruction",
        ylabel="-log p(x | z), nats",
        names=("reconstruction",),
        about="How unlikely images are by codes drawn for them: over all values of an image, or "
        "per value with reduction: mean. Even a perfect decoder's is not 0.",
    ),
    Chart(
        title="Log-densities of codes",
        ylabel="nats",
        names=("log_posterior", "log_prior"),
        labels=("posterior", "prior"),
        about="Of codes by the posterior that they are drawn from, log q(z | x): it grows as "
        "posteriors get narrow; and by the prior N(0, I): it falls as codes move away from 0.",
    ),
    Chart(
        title="Log-scale of posteriors",
        ylabel="log-scale",
        names=("log_scale",),
        about="Of the deviations of codes, mean over dimensions: at 0 they are as wide as the "
        "prior, and at log_scale_least they can get no narrower.",
    ),
    Chart(
        title="Contrast of codes",
        ylabel="-log p(k = 1 | x, z)",
        names=("contrast",),
        from_zero=True,
        about="Near 0 every code is told from those of other images; at 0.69, log 2, all are "
        "alike.",
    ),
    Chart(
        title="Push of the contrast",
        ylabel="weight (1 - p) / temperature",
        names=("contrast_push",),
        from_zero=True,
        about="Size of its gradient by the cosines of a code with the others, with the weight of "
        "the contrast: at 0 it changes nothing, and much below 1 little beside the reconstruction.",
    ),
    Chart(
        title="The model's own samples",
        ylabel="weighted loss",
        names=("model_samples",),
        about="Part of the loss that is over samples of the decoder; 0 until the warm-up is over.",
    ),
)
_NOT_DRAWN = {"epoch", "quarantined", "evaluation_share"}


def curves_section(run: RunFacts) -> Section:
    """A chart for each figure that the journal has, those of the objective last."""
    own = _own_charts(
        run.metrics.keys() - _NOT_DRAWN - {n for c in (*_CHARTS, *OF_SPEED) for n in c.names}
    )
    body = rendered(
        "curves.html",
        charts=[*drawn(run, _CHARTS)],
        own=[*drawn(run, own)],
        resumed_at=run.resumed_at,
    )
    return Section(anchor="curves", title="Curves", body=body)


def _own_charts(names: Set[str]) -> list[Chart]:
    """Of an objective's figures: known ones, of each part of a composite one, and then others."""
    parts = sorted({name.rpartition("/")[0] for name in names})
    known = [_of_part(chart, part) for part in parts for chart in _OWN_CHARTS]
    others = names - {name for chart in known for name in chart.names}
    return known + [
        Chart(title=name, ylabel=name.replace("_", " "), names=(name,)) for name in sorted(others)
    ]


def _of_part(chart: Chart, part: str) -> Chart:
    """The same chart of a composite's part, whose figures have its name before theirs."""
    if not part:
        return chart
    names = tuple(f"{part}/{name}" for name in chart.names)
    return replace(chart, title=f"{chart.title}, {part}", names=names)


def drawn(run: RunFacts, charts: Sequence[Chart]) -> Iterator[tuple[Chart, Markup, list[str]]]:
    """Each chart that there are metrics of, its picture, and what the picture cannot show."""
    for chart in charts:
        known = [
            (_in_percent(run.metrics[name]) if chart.percent else run.metrics[name], label)
            for name, label in zip(chart.names, chart.labels, strict=True)
            if name in run.metrics
        ]
        if not known:
            continue
        picture = line_chart(
            [Line(series=series, label=label) for series, label in known],
            ylabel=chart.ylabel,
            alt=f"{chart.title} over steps; {_last_values(known)}",
            marks=run.resumed_at,
            from_zero=chart.from_zero,
        )
        yield chart, picture, [text for series, label in known for text in _gaps(series, label)]


def _in_percent(series: Series) -> Series:
    return Series(steps=series.steps, values=[100 * value for value in series.values])


def _last_values(known: Sequence[tuple[Series, str]]) -> str:
    return ", ".join(
        f"{label or 'value'} {series.values[-1]:.4g} at the end" for series, label in known
    )


def _gaps(series: Series, label: str) -> Iterator[str]:
    steps = series.not_finite_at
    if steps:
        of_what = f" of {label}" if label else ""
        values = "1 value" if len(steps) == 1 else f"{len(steps)} values"
        yield f"{values}{of_what} not finite, first at step {steps[0]:,}"
