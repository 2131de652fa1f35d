"""Whether an encoder is as good where its photographs were reduced first.

    python -m benchmarks.photographs.run PHOTOGRAPHS --out photographs.jsonl

Classes are photographs: the probe is to tell which one a window is from, by windows of its other
part. Views have 64 pixels, for which `plan` advises a longer side of 192. One of 146 is to them
what 512 is to views of 224; with one of 73 every crop is enlarged.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.photographs.cell import UNTRAINED, Cell, run_cell
from benchmarks.shared.study import (
    Jobs,
    Line,
    Out,
    Progress,
    Steps,
    finished,
    mean_of,
    run_study,
)

SEEDS = 5
SIDES = (0, 192, 146, 73)


def main(
    photographs: Annotated[Path, typer.Argument(help="Folder of large JPEGs.")],
    out: Out = Path("photographs.jsonl"),
    work: Annotated[Path, typer.Option(help="Folder for shards of windows.")] = Path("windows"),
    jobs: Jobs = 1,
    steps: Steps = 0,
) -> None:
    """Run the cells that are missing, then print the table."""
    run_study(
        Cell,
        _cells,
        partial(run_cell, photographs=photographs, work=work, steps=steps or None),
        _told,
        out=out,
        jobs=jobs,
    )
    print("\n".join(table(finished(out))))


def _cells(progress: Progress[Cell]) -> Iterator[Cell]:
    for seed in range(SEEDS):
        for side in SIDES:
            yield Cell(method="simclr", max_side=side, seed=seed)
        yield Cell(method=UNTRAINED, max_side=0, seed=seed)


def table(lines: list[Line]) -> Iterator[str]:
    """Rows of Markdown, in percent: means of the seeds, and what they differ by from the first."""
    yield "| photographs | kNN | difference | linear | difference |"
    yield "|---|---|---|---|---|"
    wanted = [("simclr", side) for side in SIDES] + [(UNTRAINED, 0)]
    scores = {one: _scores(lines, *one) for one in wanted}
    first = scores[wanted[0]]
    for method, side in wanted:
        cells = [f"at most {side} px" if side else "as they are"]
        cells[0] += "" if method != UNTRAINED else ", untrained"
        for probe, mine in scores[method, side].items():
            apart = [score - first[probe][seed] for seed, score in mine.items()]
            cells += [
                str(mean_of(list(mine.values()))),
                str(mean_of(apart)) if any(apart) else "",
            ]
        yield f"| {' | '.join(cells)} |"


def _scores(lines: list[Line], method: str, side: int) -> dict[str, dict[int, float]]:
    """Percent by probe and seed."""
    mine = [line for line in lines if (line["method"], line["max_side"]) == (method, side)]
    return {p: {line["seed"]: 100 * line[p] for line in mine} for p in ("knn", "linear")}


def _told(line: Line) -> str:
    return f"kNN {line['knn']:.4f}, linear {line['linear']:.4f}, {line['wall_seconds']:.0f} s"


if __name__ == "__main__":
    typer.run(main)
