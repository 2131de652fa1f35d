"""What a sweep over temperature, projector width and a loss weight finds, and what it costs.

    python -m benchmarks.sweeps.run CIFAR10_10K.npz --out docs/sweeps.jsonl
    python -m benchmarks.sweeps.page docs/sweeps.jsonl docs/sweeps.md

Trials are drawn at random as `jobs sweep` draws them, trained on four fifths of the training images
and scored on the rest. What is told on test was chosen there, and is trained on all training
images with several seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import typer

from benchmarks.shared.study import Images, Jobs, Line, Out, Progress, Steps, run_study
from benchmarks.sweeps.cell import Cell, run_cell
from pipeline.randomness import uniform

TRIALS = 24
SEEDS = 3
PAIRS = 8
TEMPERATURE = "parts.0.objective.temperature"
PROJECTOR = "parts.0.objective.projector"
WEIGHT = "parts.1.weight"
WIDTHS = ([128, 128], [512, 128], [1024, 256])
LINE = (0.05, 0.07, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Temperatures of SimCLR alone."""
TOLD_APART = (0.1, 0.5)
OTHERS: dict[str, list[dict[str, Any]]] = {
    "vicreg": [{"covariance": value} for value in (0.1, 0.3, 1.0, 3.0, 10.0)],
    "barlow": [{"redundancy": value} for value in (1e-3, 2e-3, 5e-3, 1e-2, 2e-2)],
    "byol": [{"ema.start": value} for value in (0.5, 0.8, 0.9, 0.97, 0.99)],
    "lejepa": [{"sigreg": value} for value in (0.003, 0.01, 0.02, 0.05, 0.15)],
}


def main(images: Images, out: Out = Path("sweeps.jsonl"), jobs: Jobs = 1, steps: Steps = 0) -> None:
    """Run the cells that are missing, one line on stderr for each."""
    run_study(
        Cell,
        _cells,
        partial(run_cell, images=images, steps=steps or None),
        _told,
        out=out,
        jobs=jobs,
    )


def trials() -> list[Cell]:
    """The default, then as many at random."""
    return [Cell(objective="composite", settings={}), *map(_drawn, range(1, TRIALS))]


def temperatures() -> list[Cell]:
    """SimCLR alone, each with two seeds."""
    return [
        Cell(objective="simclr", settings={"temperature": value}, seed=seed)
        for seed in range(2)
        for value in LINE
    ]


def pairs() -> list[Cell]:
    """Two temperatures with the same seeds."""
    return [
        Cell(objective="simclr", settings={"temperature": value}, seed=seed)
        for seed in range(PAIRS)
        for value in TOLD_APART
    ]


def others() -> list[Cell]:
    """Trials of other objectives."""
    return [
        Cell(objective=objective, settings=settings)
        for objective, grid in OTHERS.items()
        for settings in grid
    ]


def winner(lines: list[Line]) -> dict[str, Any]:
    """The settings of the trial that is best on validation images, by a linear probe."""
    best: dict[str, Any] = max(lines, key=lambda line: line["linear"])["settings"]
    return best


def on_test(settings: dict[str, Any]) -> list[Cell]:
    """Settings of the composite, to be told on test."""
    return [
        Cell(objective="composite", settings=settings, seed=seed, part="test")
        for seed in range(SEEDS)
    ]


def _drawn(number: int) -> Cell:
    temperature, projector, weight = (
        float(uniform(0, "sweep study", number, name)) for name in (TEMPERATURE, PROJECTOR, WEIGHT)
    )
    return Cell(
        objective="composite",
        settings={
            TEMPERATURE: round(0.05 * 20**temperature, 4),
            PROJECTOR: WIDTHS[int(projector * len(WIDTHS))],
            WEIGHT: round(0.01 * 100**weight, 4),
        },
    )


def _cells(progress: Progress[Cell]) -> Iterator[Cell]:
    yield from trials()
    yield from temperatures()
    yield from others()
    yield from pairs()
    if all(progress.over(cell) for cell in trials()):
        yield from on_test({})
        yield from on_test(winner(progress.lines(trials())))


def _told(line: Line) -> str:
    return f"kNN {line['knn']:.3f}, linear {line['linear']:.3f}, {line['wall_seconds']:.0f} s"


if __name__ == "__main__":
    typer.run(main)
