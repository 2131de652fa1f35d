"""Write what the study of cMIM found into docs/cmim.md, and its figure beside it.

python -m benchmarks.cmim.page cmim.jsonl docs/cmim.md
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import typer

from benchmarks.cmim.cell import CHANNELS, CODE, EPOCHS, FEW, FLOORS, OBJECTIVES, TRAINED_ON, Cell
from benchmarks.cmim.figure import draw
from benchmarks.cmim.lines import PROBES, accuracy, of_method
from benchmarks.cmim.run import (
    BATCHES,
    FEW_STEPS_OF,
    GROUPS,
    GROUPS_OF,
    MIDDLE,
    SEEDS,
    VARIANTS,
    VARIANTS_RATE,
    few_steps_repeated,
    few_steps_tried,
    group_cells,
    methods_at,
    score,
    variant_cell,
)
from benchmarks.shared.study import Line, Mean, difference, finished, mean_of, write_between

_BASE = "a_mim"  # what cMIM adds a term to
_TOLD = {"cmim": "cMIM", "cmim_strong": "strong cMIM"}


def main(cells: Path, page: Path) -> None:
    """Put table and sentences between the page's two markers, and draw the figure."""
    lines = finished(cells)
    figure = page.with_suffix(".svg")
    draw(lines, figure)
    picture = f"![Accuracy by batch size, and gradients over training]({figure.name})"
    parts = [_introduction(), _table(lines), *_findings(lines), picture]
    parts += [*_few_steps(lines), *_groups(lines), *_variants(lines)]
    parts.append(_features(lines))
    write_between(page, "cmim", parts)


def _introduction() -> str:
    return (
        f"Fashion-MNIST in grey, 28 pixels a side: {TRAINED_ON:,} training images without labels, "
        f"{EPOCHS['seeds']} epochs at every batch size; resnet10t with channels 16 to 128; a code "
        f"of {CODE}, a convolutional decoder with {CHANNELS} channels, Bernoulli likelihood. One "
        "view without augmentation, but for SimCLR two with the pipeline's. Learning rates (at a "
        "batch of 128; others by the root of their size) were chosen for each cell on held-out "
        f"training images after {EPOCHS['settings']} epochs. Accuracies in per cent of probes "
        "fitted on 5,000 labelled images and scored on the 10,000 test images, mean and standard "
        f"error of {SEEDS} seeds: of a code's mean, for SimCLR of the encoder's features. NLL: "
        "nats an image for a drawn code, -log p(x | z), which says nothing of what the code costs. "
        "Log-scale: of the posterior, mean over images and dimensions; its floor is -6. Active "
        "units: dimensions whose mean has a variance above 0.01. `cmim_strong` is "
        "cMIM with `contrast: 1000` and `temperature: 1`."
    )


def _table(lines: list[Line]) -> str:
    rows = [
        "| method | batch | rate | kNN | linear | naive Bayes | NLL | log-scale | active units |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for floor in FLOORS:
        own = [line for line in lines if line["method"] == floor]
        if own:
            accuracies = " | ".join(str(accuracy(own, probe)) for probe in PROBES)
            rows.append(f"| {floor} |  |  | {accuracies} |  |  |  |")
    for method in OBJECTIVES:
        for batch in BATCHES:
            own = of_method(lines, method, batch)
            if own:
                rows.append(_row(own, method, batch))
    return "\n".join(rows)


def _row(own: list[Line], method: str, batch: int) -> str:
    accuracies = " | ".join(str(accuracy(own, probe)) for probe in PROBES)
    nll = scale = units = ""
    if "nll" in own[0]:
        scale = f"{np.mean([line['log_scale'] for line in own]):.1f}"
        nll = str(mean_of([line["nll"] for line in own]))
        units = f"{np.mean([line['active_units'] for line in own]):.0f}"
    rate = own[0]["settings"]["lr"]
    return (
        f"| {method}{_seeds(own)} | {batch} | {rate} | {accuracies} | {nll} | {scale} | {units} |"
    )


def _seeds(own: list[Line]) -> str:
    """How many, where it is not as many as it should be."""
    if len(own) == SEEDS:
        return ""
    return " (1 seed)" if len(own) == 1 else f" ({len(own)} seeds)"


def _findings(lines: list[Line]) -> Iterator[str]:
    """What of the claim holds, in sentences made of the cells."""
    sentences = []
    for probe, title in PROBES.items():
        for method, name in _TOLD.items():
            gains = []
            for batch, ours, others in _beside_base(lines, method):
                gain = difference(accuracy(ours, probe), accuracy(others, probe))
                gains.append(f"{gain} at {batch}")
            if gains:
                sentences.append(f"{title}, {name} less A-MIM: {', '.join(gains)}.")
        spreads = {name: _spread(lines, name, probe) for name in OBJECTIVES}
        told = [f"{name} {value:.1f}" for name, value in spreads.items() if value is not None]
        if told:
            sentences.append(
                f"{title}, largest less smallest mean over the batch sizes: {', '.join(told)}."
            )
    for method, name in _TOLD.items():
        ratios = []
        for batch, ours, others in _beside_base(lines, method):
            ratio = np.mean([x["nll"] for x in ours]) / np.mean([x["nll"] for x in others])
            ratios.append(f"{ratio:.3f} at {batch}")
        if ratios:
            sentences.append(f"NLL of {name} by that of A-MIM: {', '.join(ratios)}.")
    missing = [
        f"{method} at {batch}"
        for batch in BATCHES
        for method in methods_at(batch)
        if len(of_method(lines, method, batch)) < SEEDS
    ]
    if missing:
        sentences.append(f"Not measured yet, or not with all seeds: {', '.join(missing)}.")
    if sentences:
        yield "\n".join(f"- {sentence}" for sentence in sentences)


def _beside_base(lines: list[Line], method: str) -> Iterator[tuple[int, list[Line], list[Line]]]:
    """Batch sizes at which both are measured, with the seeds of both."""
    for batch in BATCHES:
        ours, others = of_method(lines, method, batch), of_method(lines, _BASE, batch)
        if ours and others:
            yield batch, ours, others


def _variants(lines: list[Line]) -> Iterator[str]:
    """What cMIM's term does with more weight or other temperatures, on held-out images."""
    by_key = {_key(line): line for line in lines}
    rows = [
        "| temperature | weight | kNN | linear | naive Bayes | NLL | the term | its gradient, "
        "weighted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant in VARIANTS:
        keys = _keys([variant_cell(variant, seed) for seed in range(SEEDS)])
        found = [by_key[key] for key in keys if key in by_key]
        if not found:
            continue
        figures = [str(accuracy(found, probe)) for probe in PROBES]
        figures.append(str(mean_of([line["nll"] for line in found])))
        last = [line["looks"][-1] for line in found]
        weight = variant.get("contrast", 1.0)
        figures.append(f"{np.mean([look['contrast'] for look in last]):.2g}")
        figures.append(f"{weight * np.mean([look['contrast_gradient'] for look in last]):.2g}")
        temperature = variant.get("temperature", 0.1)
        rows.append(f"| {temperature:g} | {weight:g} | {' | '.join(figures)} |")
    if len(rows) > 2:
        yield (
            f"cMIM's term with other temperatures and weights, at a batch of {MIDDLE}, after "
            f"{EPOCHS['variants']} epochs with a rate of {VARIANTS_RATE:g}, on held-out training "
            "images: beside accuracies the term (-log p, at most log 2) and the mean length of its "
            "gradient by a code's mean at the end."
        )
        yield "\n".join(rows)


def _few_steps(lines: list[Line]) -> Iterator[str]:
    """How much the batch's size matters where it does not change how many steps there are."""
    by_key = {_key(line): line for line in lines}
    rows = ["| method | batch | rate | kNN | linear | naive Bayes |", "|---|---|---|---|---|---|"]
    means: dict[tuple[str, int], dict[str, Mean]] = {}
    for method in FEW_STEPS_OF:
        for batch in BATCHES:
            tried = _keys(few_steps_tried(method, batch))
            found = [by_key[key] for key in tried if key in by_key]
            if not found:
                continue
            best = max(found, key=score)
            rate = best["settings"]["lr"]
            repeated = _keys(few_steps_repeated(method, batch, rate))
            own = [best, *(by_key[key] for key in repeated if key in by_key)]
            means[method, batch] = {probe: accuracy(own, probe) for probe in PROBES}
            figures = " | ".join(map(str, means[method, batch].values()))
            rows.append(f"| {method}{_seeds(own)} | {batch} | {rate} | {figures} |")
    if len(rows) == 2:
        return
    yield (
        f"With {FEW} steps at every batch size, as many as {EPOCHS['settings']} epochs have at "
        f"{max(BATCHES)}, on held-out training images; the rate that is best with the first seed:"
    )
    yield "\n".join(rows)
    smallest, largest = min(BATCHES), max(BATCHES)
    gains = [
        f"- {method}, accuracy at {largest} less that at {smallest}: "
        f"{_gain(means[method, largest], means[method, smallest])}."
        for method in FEW_STEPS_OF
        if (method, smallest) in means and (method, largest) in means
    ]
    yield "\n".join(gains)


def _groups(lines: list[Line]) -> Iterator[str]:
    """What is lost with fewer negatives where nothing else is changed."""
    by_key = {_key(line): line for line in lines}
    largest = max(BATCHES)
    told: list[str] = []
    rows = ["| method | negatives | kNN | linear | naive Bayes |", "|---|---|---|---|---|"]
    for method in GROUPS_OF:
        tried = [by_key[key] for key in _keys(few_steps_tried(method, largest)) if key in by_key]
        if not tried:
            continue
        best = max(tried, key=score)
        rate = best["settings"]["lr"]
        others = _keys(few_steps_repeated(method, largest, rate))
        of_size = {size: _keys(group_cells(method, size, rate)) for size in GROUPS}
        of_size[largest] = [_key(best), *others]
        means = {}
        for size, keys in of_size.items():
            if own := [by_key[key] for key in keys if key in by_key]:
                means[size] = {probe: accuracy(own, probe) for probe in PROBES}
                figures = " | ".join(map(str, means[size].values()))
                rows.append(f"| {method}{_seeds(own)} | of {size} | {figures} |")
        told += [
            f"- {method}, negatives of {size} less those of {largest}: "
            f"{_gain(means[size], means[largest])}."
            for size in GROUPS
            if size in means
        ]
    if len(rows) > 2:
        yield (
            f"The same with a batch of {largest}, with negatives from groups of so many of its "
            "samples only: steps, images, batch normalisation and the rate are the same."
        )
        yield "\n".join(rows)
        yield "\n".join(told)


def _gain(one: dict[str, Mean], other: dict[str, Mean]) -> str:
    """How much more accurate one is, by each probe."""
    return ", ".join(
        f"{title} {difference(one[probe], other[probe])}" for probe, title in PROBES.items()
    )


def _keys(cells: list[Cell]) -> list[str]:
    return [_key(vars(cell)) for cell in cells]


def _key(line: Line) -> str:
    return repr([line[name] for name in ("method", "batch", "settings", "seed", "stage")])


def _features(lines: list[Line]) -> str:
    """What other features of the same encoders are worth, at the middle batch."""
    rows = [
        "| method | features | kNN | linear | naive Bayes |",
        "|---|---|---|---|---|",
    ]
    for method in OBJECTIVES:
        own = of_method(lines, method, MIDDLE)
        kinds = own[0]["probes"] if own else []
        for kind in kinds if len(kinds) > 1 else []:
            figures = [
                mean_of([100 * line["probes"][kind][probe] for line in own]) for probe in PROBES
            ]
            cells = " | ".join(str(figure) for figure in figures)
            rows.append(f"| {method} | {kind} | {cells} |")
    told = (
        "Other features of the same encoders, at a batch of 128. `hidden` are the decoder's layers "
        "from the code on, means over places or all places (`none`):"
    )
    return told + "\n\n" + "\n".join(rows)


def _spread(lines: list[Line], method: str, probe: str) -> float | None:
    means = [accuracy(own, probe).value for b in BATCHES if (own := of_method(lines, method, b))]
    return max(means) - min(means) if len(means) == len(BATCHES) else None


if __name__ == "__main__":
    typer.run(main)
