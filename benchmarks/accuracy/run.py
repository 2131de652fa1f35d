"""What encoders each objective makes of 10,000 small photographs, beside lightly's same method.

    python -m benchmarks.accuracy.run CIFAR10_10K.npz --out accuracy.jsonl

The settings of a method are chosen with half of the length on a part of the training images that is
held out: by one seed, and where others come close to the best by three. The best ones are then
trained with three seeds on all of them, and probed on the test images. Finished cells are kept in
the file, and are not run again; beside a cell that failed the others go on. `page.py` makes
the table of docs/objectives.md of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.accuracy.cell import Cell, run_cell
from benchmarks.accuracy.methods import LIBRARIES, SEEDS, Method, Settings
from benchmarks.shared.study import Images, Jobs, Line, Only, Out, Progress, Steps, run_study

_CLOSE = 0.01  # to the best mean of both probes, which one seed cannot tell apart


def main(
    images: Images,
    out: Out = Path("accuracy.jsonl"),
    jobs: Jobs = 1,
    only: Only = "",
    library: Annotated[str, typer.Option(help="floor, ours or lightly; empty: all.")] = "",
    stage: Annotated[str, typer.Option(help="settings, seeds or all.")] = "all",
    steps: Steps = 0,
) -> None:
    """Run the cells that are missing, one line on stderr for each."""
    methods = list(_methods(library, [name for name in only.split(",") if name]))
    stages = ("settings", "seeds") if stage == "all" else (stage,)

    def cells(progress: Progress[Cell]) -> Iterator[Cell]:
        for name, method in methods:
            yield from _cells(name, method, stages, progress)

    run_study(
        Cell,
        cells,
        partial(run_cell, images=images, steps=steps or None),
        _told,
        out=out,
        jobs=jobs,
    )


def best_settings(lines: list[Line]) -> Settings:
    """Of finished cells of the first stage, the settings with the best mean of both probes."""
    close = contenders(lines)

    def mean(settings: Settings) -> float:
        scores = [_score(line) for line in lines if line["settings"] == settings]
        return sum(scores) / len(scores)

    return max(close, key=mean)


def contenders(lines: list[Line]) -> list[Settings]:
    """Settings that are within a point of the best by their first seed."""
    first = [line for line in lines if line["seed"] == 0]
    best = max(map(_score, first))
    return [line["settings"] for line in first if _score(line) > best - _CLOSE]


def _score(line: Line) -> float:
    return float(line["knn"] + line["linear"]) / 2


def _methods(library: str, only: list[str]) -> Iterator[tuple[str, Method]]:
    for name, methods in LIBRARIES.items():
        if library in ("", name):
            yield from ((name, method) for method in methods if not only or method.name in only)


def _cells(
    library: str, method: Method, stages: tuple[str, ...], progress: Progress[Cell]
) -> Iterator[Cell]:
    """A method's cells, as far as they are known yet."""

    def cells(stage: str, settings: list[Settings], seeds: Iterable[int]) -> list[Cell]:
        return [
            Cell(library=library, method=method.name, settings=values, seed=seed, stage=stage)
            for values in settings
            for seed in seeds
        ]

    tried = cells("settings", method.grid, [0])
    if "settings" in stages:
        yield from tried
        if not all(map(progress.over, tried)):
            return
    if not (found := progress.lines(tried)):
        return
    close = contenders(found)
    again = cells("settings", close, range(1, SEEDS)) if len(close) > 1 else []
    if "settings" in stages:
        yield from again
        if not all(map(progress.over, again)):
            return
    if "seeds" in stages:
        best = best_settings(found + progress.lines(again))
        yield from cells("seeds", [best], range(method.seeds))


def _told(line: Line) -> str:
    rate = f", {line['images_per_second']:.0f} images/s" if "steps" in line else ""
    return (
        f"kNN {line['knn']:.4f}, linear {line['linear']:.4f}, RankMe {line['rankme']:.1f}{rate}, "
        f"{line['wall_seconds']:.0f} s"
    )


if __name__ == "__main__":
    typer.run(main)
