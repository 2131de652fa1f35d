"""What is wrong with a run's data: what could not be read, and what its pairs gave away."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup
from matplotlib.figure import Figure

from pipeline.report.drawing.charts import COLOURS, as_svg, figure_style
from pipeline.report.facts import BadPairs, RunFacts
from pipeline.report.sections.answer import Answer, Tone
from pipeline.report.sections.bad_pairs import heading_of

_QUESTION = "What is wrong with the data?"


def data_answer(run: RunFacts) -> Answer:
    """By the ledger and the list of bad pairs."""
    bad = run.bad_pairs
    quarantined = None if run.ledger is None else run.ledger.total
    counts = {} if quarantined is None else {"quarantined": quarantined}
    lines = [_of_ledger(quarantined)]
    suspected = 0
    if bad is None:
        lines.append("Nothing weighed the run's pairs, so nothing is known of bad ones.")
    elif isinstance(bad, str):
        lines.append(f"Bad pairs cannot be listed: {bad}")
    else:
        counts |= {sort.name: sort.total for sort in bad.sorts}
        suspected = sum(sort.total for sort in bad.sorts)
        lines += _of_pairs(bad)
    verdict: str
    tone: Tone
    if quarantined:
        verdict = f"{quarantined:,} {'sample' if quarantined == 1 else 'samples'} cannot be decoded"
        tone = "doubt"
    elif suspected:
        verdict, tone = "Some samples look bad", "doubt"
    elif quarantined is None:
        verdict, tone = "Not known yet" if run.result is None else "Not known", "unknown"
    elif isinstance(bad, BadPairs):
        verdict, tone = "Nothing was found", "good"
    else:
        verdict, tone = "All that was read could be decoded", "good"
    if quarantined and suspected:
        verdict += ", and others look bad"
    picture = _picture(counts) if any(counts.values()) else None
    return Answer(question=_QUESTION, verdict=verdict, tone=tone, lines=lines, picture=picture)


def _of_ledger(quarantined: int | None) -> str:
    if quarantined is None:
        return "There is no ledger yet of samples that cannot be decoded."
    if not quarantined:
        return "Quarantined: none; every sample that was served could be decoded."
    return f"Quarantined: {quarantined:,}, which other samples stood in for; the ledger says why."


def _of_pairs(bad: BadPairs) -> list[str]:
    lines = [f"{heading_of(sort, bad)}." for sort in bad.sorts]
    if any(sort.total for sort in bad.sorts):
        lines.append("Clean data has some of these too: look at the worst below.")
    if len(bad.excluded):
        lines.append(f"The run left {len(bad.excluded):,} samples out from the start.")
    return lines


def _picture(counts: Mapping[str, int]) -> Markup:
    names = [*counts]
    with figure_style():
        figure = Figure(figsize=(3.5, 0.5 + 0.26 * len(names)))
        height = 0.26 * len(names) / (0.5 + 0.26 * len(names))
        axes = figure.add_axes((0.27, 0.95 - height, 0.58, height))
        axes.barh(range(len(names)), [counts[name] for name in names], 0.6, color=COLOURS[0])
        for row, name in enumerate(names):
            axes.annotate(
                f"{counts[name]:,}",
                (counts[name], row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, None)
        axes.set_xlabel("samples")
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        return as_svg(figure, alt=f"Samples: {told}")
