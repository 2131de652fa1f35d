"""Write what the study of sweeps found into docs/sweeps.md, with its figure beside it.

python -m benchmarks.sweeps.page docs/sweeps.jsonl docs/sweeps.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import typer

from benchmarks.shared.study import Line, Mean, finished, write_between
from benchmarks.sweeps.cell import EPOCHS, OBJECTIVES
from benchmarks.sweeps.figure import draw
from benchmarks.sweeps.lines import (
    NOT_RUN,
    PROBES,
    gain,
    missing,
    of_cells,
    of_temperature,
    percent,
    rank_correlation,
)
from benchmarks.sweeps.paired import pairs
from benchmarks.sweeps.pruning import pruning
from benchmarks.sweeps.run import (
    LINE,
    PAIRS,
    PROJECTOR,
    SEEDS,
    TEMPERATURE,
    TOLD_APART,
    TRIALS,
    WEIGHT,
    on_test,
    trials,
    winner,
)
from benchmarks.sweeps.scores import scores

_FIGURE = "Accuracy, uniformity and tolerance of SimCLR by temperature"


def main(cells: Path, page: Path) -> None:
    """Put the tables between the page's two markers, and the figure beside it."""
    lines = finished(cells)
    figure = page.with_suffix(".svg")
    draw(lines, figure)
    parts = [
        _introduction(lines),
        "## The winner on test",
        *_winner(lines),
        "## With and without pruning",
        *pruning(of_cells(lines, trials())),
        "## Temperature",
        f"![{_FIGURE}]({figure.name})",
        *_temperature(lines),
        "## Scores without labels",
        *scores(lines),
        "## Seeds in pairs",
        *pairs(lines),
        "## The trials",
        *_trials(of_cells(lines, trials())),
    ]
    write_between(page, "study", parts)


def _introduction(lines: list[Line]) -> str:
    hours = sum(line["wall_seconds"] for line in lines) / 3600
    return (
        "10,000 images of CIFAR-10 (the first 1,000 of each class), resnet10t with channels 16 to "
        f"128, {EPOCHS} epochs with batches of 256; {len(lines)} trainings, {hours:.1f} "
        "core-hours. Unless test is named, encoders are trained on 8,000 of the images and scored "
        "on the other 2,000; where it is, they are trained on all and scored on 2,000 test images. "
        "Accuracies in per cent, differences in points, ± one standard error over seeds, which "
        "leaves out that of the images scored: 1.1 for an accuracy, less for a difference. The "
        "trials are of "
        f"a composite of SimCLR and VICReg: the default and {TRIALS - 1} at random with a "
        "temperature of 0.05 to 1, a projector of three and a weight of VICReg of 0.01 to 1."
    )


def _winner(lines: list[Line]) -> Iterator[str]:
    tried = of_cells(lines, trials())
    if not tried:
        yield NOT_RUN
        return
    settings = winner(tried)
    of_default, of_winner = (of_cells(lines, on_test(each)) for each in ({}, settings))
    rows = [
        "| temperature, projector, weight of VICReg | linear, validation | kNN, test "
        "| linear, test |",
        "|---|---|---|---|",
    ]
    for name, own, ran in (("default", {}, of_default), ("winner", settings, of_winner)):
        chosen_by = next((x for x in tried if x["settings"] == own), None)
        figures = [f"{100 * chosen_by['linear']:.1f}" if chosen_by else ""]
        figures += [str(percent(ran, probe)) if ran else "not run yet" for probe in PROBES]
        rows.append(f"| {name}{_seeds(ran)}: {_told(own)} | {' | '.join(figures)} |")
    yield "\n".join(rows)
    if len(tried) < TRIALS:
        yield f"The winner of {len(tried)} trials: the others are not run yet."
    if not settings:
        yield "The default has won, so there is nothing to compare."
        return
    found = {title: gain(of_winner, of_default, probe) for probe, title in PROBES.items()}
    sentences = [f"{t} {mean}, {_beyond(mean)}" for t, mean in found.items() if mean is not None]
    if sentences:
        yield (
            "On test the winner less the default, seed by seed: "
            f"{'; '.join(sentences)}. Of differences that are none, 42 % are beyond the "
            "error of three seeds."
        )


def _beyond(mean: Mean) -> str:
    """Whether a difference is more than its error."""
    if np.isnan(mean.error):
        return "which has no error with one seed"
    if abs(mean.value) <= mean.error:
        return "which is not beyond the standard error"
    more = "better" if mean.value > 0 else "worse"
    return f"{more} beyond the standard error"


def _seeds(own: Sequence[Line], wanted: int = SEEDS) -> str:
    """How many, where it is not as many as it should be."""
    if len(own) in (0, wanted):
        return ""
    return " (1 seed)" if len(own) == 1 else f" ({len(own)} seeds)"


def _temperature(lines: list[Line]) -> Iterator[str]:
    means = {value: own for value in LINE if (own := of_temperature(lines, value))}
    if not means:
        yield NOT_RUN
        return
    rows = [
        "| temperature | kNN | linear | uniformity | tolerance |",
        "|---|---|---|---|---|",
    ]
    for value, own in means.items():
        figures = [str(percent(own, probe)) for probe in PROBES]
        figures += [f"{_of_panel(own, name):.3f}" for name in ("uniformity", "tolerance")]
        rows.append(f"| {value:g}{_seeds(own, 2)} | {' | '.join(figures)} |")
    yield (
        "SimCLR alone, mean and standard error of two seeds; in the figure, whose lines are these "
        f"means, {TOLD_APART[0]:g} and {TOLD_APART[1]:g} have dots of {PAIRS} seeds. Uniformity "
        "is turned so that more is more uniform."
    )
    yield "\n".join(rows)
    if len(means) < len(LINE):
        yield "Temperatures that are left out are not run yet."
        return
    rhos = {
        name: rank_correlation(LINE, [_of_panel(own, name) for own in means.values()])
        for name in ("uniformity", "tolerance")
    }
    as_told = {"uniformity": rhos["uniformity"] < 0, "tolerance": rhos["tolerance"] > 0}
    sentences = [
        f"{name.capitalize()} {'falls' if rho < 0 else 'rises'} with the temperature (Spearman "
        f"{rho:.2f} over {len(LINE)} means{_against(means, name, rho)}), "
        f"{'as' if as_told[name] else 'and not as'} Wang & Liu have it."
        for name, rho in rhos.items()
    ]
    sentences += [_optimum(means, probe) for probe in PROBES]
    yield "\n".join(f"- {sentence}" for sentence in sentences)
    yield (
        "The best is chosen among six by what it is compared by, which flatters it, and two seeds "
        "are few: of differences that are none, every second is beyond the error of two."
    )


def _against(means: dict[float, list[Line]], name: str, rho: float) -> str:
    """Steps of the temperature over which it goes the other way."""
    steps = [
        f"{one:g} to {other:g}"
        for one, other in pairwise(means)
        if rho * (_of_panel(means[other], name) - _of_panel(means[one], name)) < 0
    ]
    return f"; the other way from {', '.join(steps)}" if steps else ""


def _optimum(means: dict[float, list[Line]], probe: str) -> str:
    """Whether the best inner temperature is beyond both ends."""
    low, *inner, high = means
    best = max(inner, key=lambda value: percent(means[value], probe).value)
    told, beyond = [], []
    for end in (low, high):
        mean = gain(means[best], means[end], probe)
        if mean is None:
            continue
        beyond.append(not np.isnan(mean.error) and mean.value > mean.error)
        told.append(f"{mean} above that of {end:g} ({'beyond' if beyond[-1] else 'not beyond'})")
    holds = "an optimum in the middle" if all(beyond) else "no optimum in the middle is shown"
    return (
        f"{PROBES[probe]}: the best inner temperature, {best:g}, is {' and '.join(told)} the "
        f"standard error of differences by seed: {holds}."
    )


def _of_panel(own: list[Line], name: str) -> float:
    return float(np.mean([line["panel"][name] for line in own]))


def _trials(tried: list[Line]) -> Iterator[str]:
    if not tried:
        yield NOT_RUN
        return
    rows = [
        "| temperature | projector | weight of VICReg | kNN | linear | RankMe | IdEst |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in tried:
        panel = line["panel"]
        rows.append(
            f"| {_told(line['settings'], ' | ')} | {100 * line['knn']:.1f} | "
            f"{100 * line['linear']:.1f} | {panel['rankme']:.1f} | {panel['idest']:.1f} |"
        )
    still = missing(trials(), tried)
    yield f"In the order in which they were drawn; the first is the default.{still}"
    yield "\n".join(rows)


def _told(settings: dict[str, object], between: str = ", ") -> str:
    """Temperature, projector and weight, the default's where settings do not say."""
    simclr, vicreg = OBJECTIVES["composite"]["parts"]
    values = {
        TEMPERATURE: simclr["objective"]["temperature"],
        PROJECTOR: simclr["objective"]["projector"],
        WEIGHT: vicreg["weight"],
        **settings,
    }
    return between.join(str(value) for value in values.values())


if __name__ == "__main__":
    typer.run(main)
