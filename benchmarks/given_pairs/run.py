"""Whether DBPM finds pairs whose right belongs to another left.

    python -m benchmarks.given_pairs.run tests/fixtures/openclipart_ci_32.npz

Left is a picture, right an augmentation of it that was made once, by other code with its own seed:
training draws its views of the two, not two of one. A tenth of the rights change places. SimCLR
trains with a miner that only remembers, and with one that weighs pairs after a quarter of the
epochs; the same without swaps tells how many sound pairs are listed. `docs/pairs.md` has what came
of it, which `--summary` prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.given_pairs.cell import BOUNDS, EPOCHS, WARM_UP, Cell, run_cell
from benchmarks.shared.study import Jobs, Line, Out, Progress, finished, mean_of, run_study

SEEDS = 3
SHARE = 0.1


def main(
    images: Annotated[Path, typer.Argument(help=".npz: x (n, S, S, 3) uint8")],
    out: Out = Path("docs/given_pairs.jsonl"),
    jobs: Jobs = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Of each cell, fewer to try it out.")] = EPOCHS,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print what there is, as rows.")
    ] = False,
) -> None:
    """Run the cells that are missing, one line on stderr for each."""
    if summary:
        print(table(finished(out)))
        return

    def cells(progress: Progress[Cell]) -> Iterator[Cell]:
        for seed in range(SEEDS):
            for weighing in WARM_UP:
                yield Cell(share=SHARE, weighing=weighing, seed=seed)
            yield Cell(share=0.0, weighing="remembered", seed=seed)

    work = partial(run_cell, images=images, epochs=epochs)
    run_study(Cell, cells, work, _told, out=out, jobs=jobs)


def table(lines: list[Line]) -> str:
    """Rows of a Markdown table: means of the seeds with their standard errors, in %."""
    rows = []
    for share, weighing in dict.fromkeys((line["share"], line["weighing"]) for line in lines):
        own = [line for line in lines if (line["share"], line["weighing"]) == (share, weighing)]
        figures = [_percent([line["auc"] for line in own]) if share else "–"]
        for name in BOUNDS:
            lists = [line[name] for line in own]
            figures.append(
                _percent([f["faulty"] / n["pairs"] for f, n in zip(lists, own, strict=True)])
            )
            if share:
                figures.append(_percent([f["swapped"] / max(1, f["faulty"]) for f in lists]))
                figures.append(
                    _percent([f["swapped"] / n["planted"] for f, n in zip(lists, own, strict=True)])
                )
            else:
                figures += ["–", "–"]
        rows.append(f"| {share:.0%} swapped, {weighing} | {' | '.join(figures)} |")
    return "\n".join(rows)


def _percent(shares: list[float]) -> str:
    return str(mean_of([100 * share for share in shares]))


def _told(line: Line) -> str:
    lists = ", ".join(
        f"{name} {line[name]['swapped']} of {line[name]['faulty']}" for name in BOUNDS
    )
    return f"AUC {line.get('auc', float('nan')):.3f}; swapped among faulty: {lists}; " + (
        f"{line['wall_seconds']:.0f} s"
    )


if __name__ == "__main__":
    typer.run(main)
