"""Whether cMIM's codes are better than A-MIM's, and depend less on the batch than SimCLR's.

    python benchmarks/cmim.py FASHION_MNIST.npz --out docs/cmim.jsonl
    python benchmarks/cmim_page.py docs/cmim.jsonl docs/cmim.md

cMIM is A-MIM and one term more, so these two tell what the term is worth. MIM with samples of its
own has another gradient besides, by the score function; it is run at one batch size, to see what
that costs on whole images; so is the best variant of cMIM's term on held-out images, to see it on
test images. Every method sees the same number of images at each batch size. The
learning rate of each of them is chosen with half of the length on a part of the training images
that is held out, from three and as many more as it takes until the best one has a worse one on
either side; it is trained with three seeds and probed on the test images.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import typer
from cmim_cell import OBJECTIVES, Cell, run_cell
from study import Images, Jobs, Line, Only, Out, Progress, Steps, run_study

BATCHES = (16, 128, 1024)
_MIDDLE_ONLY = ("mim", "cmim_strong")
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # at a batch of 128; others by the root of their size
_FIRST_RATES = (1e-3, 3e-3, 1e-2)
SEEDS = 3
VARIANTS: list[dict[str, float]] = [
    {},
    {"temperature": 1.0},
    {"contrast": 100.0},
    {"contrast": 1000.0},
    {"contrast": 1000.0, "temperature": 1.0},
]
"""Of cMIM at the middle batch: what its term does when it is strong enough to be felt."""


def main(
    images: Images,
    out: Out = Path("cmim.jsonl"),
    jobs: Jobs = 1,
    only: Only = "",
    steps: Steps = 0,
) -> None:
    """Run the cells that are missing, one line on stderr for each."""
    wanted = only.split(",") if only else list(OBJECTIVES)

    def cells(progress: Progress[Cell]) -> Iterator[Cell]:
        for batch in sorted(BATCHES, key=lambda size: size != BATCHES[1]):
            for method in methods_at(batch):
                if method in wanted:
                    yield from _cells(method, batch, progress)

    run_study(
        Cell,
        cells,
        partial(run_cell, images=images, steps=steps or None),
        _told,
        out=out,
        jobs=jobs,
    )


def methods_at(batch: int) -> list[str]:
    """Those that are run with batches of a size."""
    return [name for name in OBJECTIVES if batch == BATCHES[1] or name not in _MIDDLE_ONLY]


def score(line: Line) -> float:
    """What settings are chosen by: the mean of all probes of the first kind of features."""
    accuracies = next(iter(line["probes"].values())).values()
    return sum(accuracies) / len(accuracies)


def _cells(method: str, batch: int, progress: Progress[Cell]) -> Iterator[Cell]:
    """A method's cells at a batch size, as far as they are known yet."""
    tried = yield from _tried(method, batch, progress)
    if not all(map(progress.over, tried)) or not (found := progress.lines(tried)):
        return
    best = max(found, key=score)["settings"]
    for seed in range(SEEDS):
        yield Cell(method=method, batch=batch, settings=best, seed=seed, stage="seeds")
    if method == "cmim" and batch == BATCHES[1]:
        for variant in VARIANTS:
            for seed in range(SEEDS):
                yield variant_cell(best, variant, seed)


def _tried(method: str, batch: int, progress: Progress[Cell]) -> Generator[Cell, None, list[Cell]]:
    """The cells that a rate is chosen by: more of them while the best one is at an end."""
    wanted = set(_FIRST_RATES)
    while True:
        tried = [
            Cell(method=method, batch=batch, settings={"lr": rate}, seed=0, stage="settings")
            for rate in RATES
            if rate in wanted
        ]
        yield from tried
        found = progress.lines(tried)
        if not found or not all(map(progress.over, tried)):
            return tried
        best = RATES.index(max(found, key=score)["settings"]["lr"])
        more = set(RATES[max(0, best - 1) : best + 2]) - wanted
        if not more:
            return tried
        wanted |= more


def variant_cell(best: dict[str, float], variant: dict[str, float], seed: int) -> Cell:
    """Of cMIM with its best rate, scored on images that are held out."""
    settings = {**best, **variant}
    return Cell(method="cmim", batch=BATCHES[1], settings=settings, seed=seed, stage="variants")


def _told(line: Line) -> str:
    (kind, scores), *_ = line["probes"].items()
    figures = ", ".join(f"{probe} {value:.4f}" for probe, value in scores.items())
    more = f", NLL {line['nll']:.1f}, {line['active_units']} active" if "nll" in line else ""
    return f"{kind}: {figures}{more}, {line['wall_seconds']:.0f} s"


if __name__ == "__main__":
    typer.run(main)
