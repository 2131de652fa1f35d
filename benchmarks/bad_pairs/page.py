"""Write what the study of bad pairs found into docs/bad_pairs.md, with its figure beside it.

python -m benchmarks.bad_pairs.page bad_pairs.jsonl docs/bad_pairs.md
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer

from benchmarks.bad_pairs.cell import EPOCHS
from benchmarks.bad_pairs.figure import draw
from benchmarks.bad_pairs.lines import PROBES, gain, of_conditions, of_settings
from benchmarks.bad_pairs.planted import SORTS
from benchmarks.bad_pairs.run import LISTED, PUBLISHED, SEEDS, SETUPS, WARM_UP, Setup, best_of
from benchmarks.shared.study import Line, finished, mean_of, write_between

_DETECTED = {
    "planted": "Who is found when nobody is turned down, with the published bounds:",
    "planted, chosen": "With the chosen settings:",
    "planted, chosen and uota": "With the arbiter too:",
}
_FIGURE = "AUC of each sort by epoch, and what weights and lists gain on planted data"
_SHOWN_EPOCHS = (1, 2, 4, 8, 15)


def main(cells: Path, page: Path) -> None:
    """Put the tables between the page's two markers, and the figure beside it."""
    lines = finished(cells)
    figure = page.with_suffix(".svg")
    draw(lines, figure)
    parts = [_introduction(), f"![{_FIGURE}]({figure.name})"]
    for title, setup in SETUPS.items():
        parts.extend(_setup(lines, title, setup))
    write_between(page, "bad pairs", parts)


def _introduction() -> str:
    return (
        "Images: 10,000 of CIFAR-10 (the first 1,000 of each class; scored on all 10,000 test "
        "images), resnet10t with channels 16 to 128. Series: 8,926 of ElectricDevices (UCR), "
        f"three layers of convolutions. Both for {EPOCHS} epochs with batches of 256, images "
        "in bf16; 5 % of the samples are of each sort, where nothing else is said: noisy (85 "
        "% of both views is the same noise; of cMIM's one view), faulty (the second view is "
        "that of another faulty sample of the batch) and, of images, outlier (the second view "
        f"is 5 by 5 pixels of the sample, enlarged). Weights apply from epoch {WARM_UP} on, "
        "counted from 0; precision and recall are of verdicts made after each epoch. AUC and "
        "precision are of a sort against samples in which nothing is planted: those of other "
        "sorts are left out. Accuracies in per cent on the test samples, mean of "
        f"{SEEDS} seeds and its standard error. The miner's bounds and weight "
        "are chosen by the accuracy on a held-out fifth of the training samples, with one "
        "seed. Differences are means of those between runs of one seed. *Listed left out*: a "
        f"first training remembers pairs, with {LISTED['noisy']} and {LISTED['faulty']} for "
        "the bounds of its list, and a second one does without those listed; *all left out*: "
        "without all that are planted, as if one knew them; *an eighth left out at random*: "
        "what leaving out as such does. All take as many steps as the others. *Left out of "
        "losses*: what is planted is in the batches and weighs nothing from the first step "
        "on; *of losses and terms*: nor is it in the terms that a whole batch has."
    )


def _setup(lines: list[Line], title: str, setup: Setup) -> Iterator[str]:
    if not (choices := of_settings(lines, setup)):
        return
    yield f"## {title}"
    best = best_of(choices)
    yield "Held out: " + "; ".join(_choice(line, best) for line in choices)
    rows = ["| condition | kNN | linear |", "|---|---|---|"]
    found = of_conditions(lines, setup)
    for name, own in found.items():
        figures = " | ".join(str(mean_of([100 * x[probe] for x in own])) for probe in PROBES)
        seeds = "" if len(own) == SEEDS else f" ({len(own)} seeds)"
        rows.append(f"| {name}{seeds} | {figures} |")
    yield "\n".join(rows)
    yield from _gains(found)
    for name in ("planted", "clean"):
        if listed := found.get(f"{name}, listed left out"):
            yield f"Listed of {name} data: {_list(listed)}"
    for name, told in _DETECTED.items():
        if name in found:
            yield _detection(found[name], told)


def _list(lines: list[Line]) -> str:
    """Who was left out of the second training."""
    mean = np.mean([line["listed"] for line in lines], axis=0)
    planted = dict(zip(SORTS, mean[1:], strict=True))
    told = "".join(f"{planted[sort]:.0f} {sort}, " for sort in lines[0]["planted"])
    return f"{told}{mean[0]:.0f} in which nothing is planted."


def _choice(line: Line, best: dict[str, Any]) -> str:
    settings = {name: line["pairs"]["miner"][name] for name in PUBLISHED}
    told = ", ".join(f"{name} {value}" for name, value in settings.items())
    mark = "**" if settings == best else ""
    return f"{mark}{told}: {50 * (line['knn'] + line['linear']):.1f}{mark}"


def _gains(found: dict[str, list[Line]]) -> Iterator[str]:
    sentences = []
    pairs = [(name, name.partition(",")[0]) for name in found if "," in name]
    for name, base in [*pairs, ("clean", "planted")]:
        if name in found and base in found:
            told = [f"{t} {gain(found[name], found[base], probe)}" for probe, t in PROBES.items()]
            sentences.append(f"- {name}, less {base}: {', '.join(told)}")
    if sentences:
        yield "\n".join(sentences)


def _detection(lines: list[Line], title: str) -> str:
    names = list(lines[0]["epochs"][-1]) if lines[0]["epochs"] else []
    names = [name for name in names if name != "epoch"]
    rows = [
        "| after epoch | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for epoch in _SHOWN_EPOCHS:
        of_epoch = [x for line in lines for x in line["epochs"] if x["epoch"] == epoch]
        if of_epoch:
            figures = [_average(of_epoch, name) for name in names]
            rows.append(f"| {epoch} | {' | '.join(figures)} |")
    return f"{title}\n\n" + "\n".join(rows)


def _average(epochs: list[dict[str, float]], name: str) -> str:
    values = [epoch[name] for epoch in epochs if name in epoch]
    return f"{np.mean(values):.3f}" if values else ""


if __name__ == "__main__":
    typer.run(main)
