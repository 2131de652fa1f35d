"""Whether cMIM's codes are better than A-MIM's, and depend less on the batch than SimCLR's.

    python -m benchmarks.cmim.run FASHION_MNIST.npz --out docs/cmim.jsonl
    python -m benchmarks.cmim.page docs/cmim.jsonl docs/cmim.md

cMIM is A-MIM and one term more, so these two tell what the term is worth. MIM with samples of its
own has another gradient besides, by the score function; it is run at one batch size, to see what
that costs on whole images. The best variant of cMIM's term on held-out images is run as a method of
its own, to see it on test images. Every method sees the same number of images at each batch size,
and so takes fewer steps with larger ones; a few runs of equally many steps tell what of the
difference that is. The learning rate of each method and size is chosen with half of the length on a
part of the training images that is held out, from three and as many more as it takes until the best
one has a worse one on either side; it is trained with three seeds and probed on the test images.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import typer

from benchmarks.cmim.cell import FLOORS, OBJECTIVES, RATES, Cell, run_cell
from benchmarks.shared.study import Images, Jobs, Line, Only, Out, Progress, Steps, run_study

BATCHES = (16, 128, 1024)
MIDDLE = 128
_MIDDLE_ONLY = ("mim",)
SEEDS = 3
_FIRST_RATES = frozenset({1e-3, 3e-3, 1e-2})
VARIANTS_RATE = 3e-3
VARIANTS: list[dict[str, float]] = [
    {},
    {"temperature": 1.0},
    {"contrast": 100.0},
    {"contrast": 1000.0},
    {"contrast": 1000.0, "temperature": 1.0},
]
"""Of cMIM: what its term does when it is strong enough to be felt."""
FEW_STEPS_OF = ("simclr", "a_mim", "cmim", "cmim_strong")
GROUPS_OF = ("simclr", "cmim_strong")
GROUPS = (16, 128)
"""Sizes of the groups of a batch of 1024 within which samples are each other's negatives."""
_FEW_STEPS_RATES = (3e-3, 1e-2, 3e-2, 1e-1)


def main(
    images: Images,
    out: Out = Path("cmim.jsonl"),
    jobs: Jobs = 1,
    only: Only = "",
    steps: Steps = 0,
) -> None:
    """Run the cells that are missing, one line on stderr for each."""
    wanted = only.split(",") if only else [*FLOORS, *OBJECTIVES]

    def cells(progress: Progress[Cell]) -> Iterator[Cell]:
        for floor in FLOORS:
            if floor in wanted:
                yield from floor_cells(floor)
        for batch in sorted(BATCHES, key=lambda size: size != MIDDLE):
            for method in methods_at(batch):
                if method in wanted:
                    yield from _cells(method, batch, progress)
        for method in FEW_STEPS_OF:
            if method in wanted:
                for batch in BATCHES:
                    yield from _few_steps_cells(method, batch, progress)

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
    return [name for name in OBJECTIVES if batch == MIDDLE or name not in _MIDDLE_ONLY]


def score(line: Line) -> float:
    """What settings are chosen by: the mean of all probes of the first kind of features."""
    accuracies = next(iter(line["probes"].values())).values()
    return sum(accuracies) / len(accuracies)


def floor_cells(method: str) -> list[Cell]:
    """Of what is not trained; pixels are the same for every seed."""
    seeds = 1 if method == "raw pixels" else SEEDS
    return [
        Cell(method=method, batch=MIDDLE, settings={}, seed=seed, stage="seeds")
        for seed in range(seeds)
    ]


def variant_cell(variant: dict[str, float], seed: int) -> Cell:
    """Of cMIM, scored on images that are held out."""
    settings = {"lr": VARIANTS_RATE, **variant}
    return Cell(method="cmim", batch=MIDDLE, settings=settings, seed=seed, stage="variants")


def few_steps_tried(method: str, batch: int) -> list[Cell]:
    """The cells by which the rate of few steps is chosen.

    The largest batch's settings are tried with as many steps, so these are its own cells.
    """
    if batch == max(BATCHES):
        return _tried(method, batch, frozenset(RATES))
    return [_few_steps_cell(method, batch, rate, seed=0) for rate in _FEW_STEPS_RATES]


def few_steps_repeated(method: str, batch: int, rate: float) -> list[Cell]:
    """The chosen rate with the other seeds."""
    return [_few_steps_cell(method, batch, rate, seed=seed) for seed in range(1, SEEDS)]


def group_cells(method: str, group: int, rate: float) -> list[Cell]:
    """Of the largest batch and few steps, with negatives from groups of this many samples."""
    settings = {"lr": rate, "group": group}
    return [
        Cell(method=method, batch=max(BATCHES), settings=settings, seed=seed, stage="groups")
        for seed in range(SEEDS)
    ]


def _few_steps_cell(method: str, batch: int, rate: float, *, seed: int) -> Cell:
    return Cell(method=method, batch=batch, settings={"lr": rate}, seed=seed, stage="few steps")


def _few_steps_cells(method: str, batch: int, progress: Progress[Cell]) -> Iterator[Cell]:
    """A method's cells of few steps at a batch size, as far as they are known yet."""
    tried = few_steps_tried(method, batch)
    if batch != max(BATCHES):
        yield from tried
        known = all(map(progress.over, tried))
    else:
        known = _chosen(method, batch, progress) is not None
    if known and (found := progress.lines(tried)):
        best = max(found, key=score)["settings"]["lr"]
        yield from few_steps_repeated(method, batch, best)
        if batch == max(BATCHES) and method in GROUPS_OF:
            yield from (cell for group in GROUPS for cell in group_cells(method, group, best))


def _cells(method: str, batch: int, progress: Progress[Cell]) -> Iterator[Cell]:
    """A method's cells at a batch size, as far as they are known yet."""
    first = _FIRST_RATES
    if batch != MIDDLE:
        if (at_middle := _chosen(method, MIDDLE, progress)) is None:
            return
        first = _beside(at_middle)
    yield from _tried(method, batch, first)
    if not all(map(progress.over, _tried(method, batch, first))):
        return
    if (best := _best(method, batch, progress)) is None:
        return
    yield from _tried(method, batch, _beside(best))
    if (chosen := _chosen(method, batch, progress)) is None:
        return
    for seed in range(SEEDS):
        yield Cell(method=method, batch=batch, settings={"lr": chosen}, seed=seed, stage="seeds")
    if method == "cmim" and batch == MIDDLE:
        for variant in VARIANTS:
            for seed in range(SEEDS):
                yield variant_cell(variant, seed)


def _chosen(method: str, batch: int, progress: Progress[Cell]) -> float | None:
    """The best rate, once those beside it have been tried."""
    best = _best(method, batch, progress)
    if best is None or not all(map(progress.over, _tried(method, batch, _beside(best)))):
        return None
    return best


def _best(method: str, batch: int, progress: Progress[Cell]) -> float | None:
    """The best rate by now."""
    found = progress.lines(_tried(method, batch, frozenset(RATES)))
    return max(found, key=score)["settings"]["lr"] if found else None


def _beside(rate: float) -> frozenset[float]:
    place = RATES.index(rate)
    return frozenset(RATES[max(0, place - 1) : place + 2])


def _tried(method: str, batch: int, rates: frozenset[float]) -> list[Cell]:
    """The cells that rates are chosen by."""
    return [
        Cell(method=method, batch=batch, settings={"lr": rate}, seed=0, stage="settings")
        for rate in sorted(rates)
    ]


def _told(line: Line) -> str:
    (kind, scores), *_ = line["probes"].items()
    figures = ", ".join(f"{probe} {value:.4f}" for probe, value in scores.items())
    more = f", NLL {line['nll']:.1f}, {line['active_units']} active" if "nll" in line else ""
    return f"{kind}: {figures}{more}, {line['wall_seconds']:.0f} s"


if __name__ == "__main__":
    typer.run(main)
