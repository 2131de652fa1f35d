"""Whether planted bad pairs are found, and whether turning them down makes a better encoder.

    python benchmarks/bad_pairs.py CIFAR10.npz ELECTRIC_DEVICES.npz --out docs/bad_pairs.jsonl
    python benchmarks/bad_pairs_page.py docs/bad_pairs.jsonl docs/bad_pairs.md

The miner's bounds and weight are chosen by probes on a part of the training samples that is held
out, for each objective; then all conditions are trained with several seeds and probed on the test
samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from bad_pairs_cell import EPOCHS, SERIES, Cell, run_cell
from bad_pairs_series import SORTS_OF_SERIES
from planted_pairs import SORTS
from study import Images, Jobs, Line, Only, Out, Progress, Steps, run_study

SEEDS = {"simclr": 3, "lejepa": 3, "vicreg": 1, "cmim": 1, SERIES: 3}
SORTS_OF: dict[str, tuple[str, ...]] = {
    "simclr": SORTS,
    "lejepa": SORTS,
    "vicreg": ("noisy",),
    "cmim": ("noisy",),
    SERIES: SORTS_OF_SERIES,
}
WARM_UP = EPOCHS // 4
PUBLISHED: dict[str, Any] = {"noisy": 2.0, "faulty": 3.0, "weight": "gaussian"}
GRID: list[dict[str, Any]] = [
    PUBLISHED,
    {"noisy": 1.5, "faulty": 1.5, "weight": "gaussian"},
    {"noisy": 1.5, "faulty": 1.5, "weight": "drop"},
    {"noisy": 1.0, "faulty": 1.5, "weight": "drop"},
]
_UOTA = {"kind": "uota", "start_epoch": WARM_UP}


def main(
    images: Images,
    series: Annotated[Path, typer.Argument(help="The same of time series (n, channels, length).")],
    out: Out = Path("bad_pairs.jsonl"),
    jobs: Jobs = 1,
    only: Only = "",
    steps: Steps = 0,
) -> None:
    """Run the cells that are missing, one line on stderr for each."""
    objectives = [name for name in SEEDS if not only or name in only.split(",")]

    def cells(progress: Progress[Cell]) -> Iterator[Cell]:
        for objective in objectives:
            yield from _cells(objective, progress)

    run_study(
        Cell,
        cells,
        partial(run_cell, images=images, series=series, steps=steps or None),
        _told,
        out=out,
        jobs=jobs,
    )


def miner(settings: dict[str, Any]) -> dict[str, Any]:
    """A recipe's miner."""
    return {"kind": "dbpm", "warm_up": WARM_UP, **settings}


def remembering() -> dict[str, Any]:
    """Pairs that are remembered, and never weighed: what others are compared with."""
    return {"miner": {**miner(PUBLISHED), "warm_up": EPOCHS}}


def conditions(objective: str, best: dict[str, Any]) -> dict[str, tuple[list[str], dict[str, Any]]]:
    """What is trained with all seeds, by name: the sorts planted, and the section on pairs."""
    sorts = list(SORTS_OF[objective])
    found = {
        "planted": (sorts, remembering()),
        "planted, published": (sorts, {"miner": miner(PUBLISHED)}),
        "planted, chosen": (sorts, {"miner": miner(best)}),
        "clean": ([], remembering()),
        "clean, chosen": ([], {"miner": miner(best)}),
    }
    if "outlier" in sorts:
        found["planted, chosen and uota"] = (sorts, {"miner": miner(best), "arbiter": _UOTA})
    return found


def best_of(lines: list[Line]) -> dict[str, Any]:
    """Of finished cells of the first stage, the settings with the best mean of both probes."""
    chosen = max(lines, key=lambda line: line["knn"] + line["linear"])["pairs"]["miner"]
    return {name: chosen[name] for name in PUBLISHED}


def tried(objective: str) -> list[Cell]:
    """The cells that settings are chosen by."""
    return [
        Cell(
            objective=objective,
            planted=list(SORTS_OF[objective]),
            pairs={"miner": miner(settings)},
            seed=0,
            stage="settings",
        )
        for settings in GRID
    ]


def _cells(objective: str, progress: Progress[Cell]) -> Iterator[Cell]:
    """An objective's cells, as far as they are known yet."""
    yield from (choices := tried(objective))
    if not all(map(progress.over, choices)) or not (found := progress.lines(choices)):
        return
    for seed in range(SEEDS[objective]):
        for planted, pairs in conditions(objective, best_of(found)).values():
            yield Cell(objective=objective, planted=planted, pairs=pairs, seed=seed, stage="seeds")


def _told(line: Line) -> str:
    last = line["epochs"][-1] if line["epochs"] else {}
    found = ", ".join(f"{name} {value:.3f}" for name, value in last.items() if "auc" in name)
    accuracies = f"kNN {line['knn']:.4f}, linear {line['linear']:.4f}"
    return f"{accuracies}; {found}; {line['wall_seconds']:.0f} s"


if __name__ == "__main__":
    typer.run(main)
