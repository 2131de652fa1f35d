"""Whether planted bad pairs are found, and whether turning them down makes a better encoder.

    python -m benchmarks.bad_pairs.run CIFAR10.npz ELECTRIC_DEVICES.npz --out docs/bad_pairs.jsonl
    python -m benchmarks.bad_pairs.page docs/bad_pairs.jsonl docs/bad_pairs.md

The miner's bounds and weight are chosen by probes on a part of the training samples that is held
out, for each objective; then all conditions are trained with several seeds and probed on the test
samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.bad_pairs.cell import EPOCHS, SERIES, Cell, run_cell
from benchmarks.bad_pairs.planted import SORTS
from benchmarks.bad_pairs.series import SORTS_OF_SERIES
from benchmarks.shared.study import Images, Jobs, Line, Out, Progress, Steps, run_study


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is trained on what."""

    objective: str
    sorts: tuple[str, ...]
    share: float = 0.05
    """Of the samples, planted of each sort."""


SETUPS = {
    "simclr": Setup(objective="simclr", sorts=SORTS),
    "lejepa": Setup(objective="lejepa", sorts=SORTS),
    "vicreg": Setup(objective="vicreg", sorts=("noisy",)),
    "cmim": Setup(objective="cmim", sorts=("noisy",)),
    SERIES: Setup(objective=SERIES, sorts=SORTS_OF_SERIES),
    "simclr, a fifth faulty": Setup(objective="simclr", sorts=("faulty",), share=0.2),
}
SEEDS = 3
OF_BATCHES = ("lejepa", "vicreg")
"""Have terms that no pair owns."""
WARM_UP = EPOCHS // 4
PUBLISHED: dict[str, Any] = {"noisy": 2.0, "faulty": 3.0, "weight": "gaussian"}
GRID: list[dict[str, Any]] = [
    PUBLISHED,
    {"noisy": 1.5, "faulty": 1.5, "weight": "gaussian"},
    {"noisy": 1.5, "faulty": 1.5, "weight": "drop"},
    {"noisy": 1.0, "faulty": 1.5, "weight": "drop"},
]
LISTED: dict[str, Any] = {"noisy": 1.5, "faulty": 1.5, "weight": "gaussian"}
_UOTA = {"kind": "uota", "start_epoch": WARM_UP}


def main(
    images: Images,
    series: Annotated[Path, typer.Argument(help="The same of time series (n, channels, length).")],
    out: Out = Path("bad_pairs.jsonl"),
    jobs: Jobs = 1,
    only: Annotated[str, typer.Option(help="Setups, separated by semicolons; empty: all.")] = "",
    steps: Steps = 0,
) -> None:
    """Run the cells that are missing, one line on stderr for each."""
    wanted = [setup for name, setup in SETUPS.items() if not only or name in only.split(";")]

    def cells(progress: Progress[Cell]) -> Iterator[Cell]:
        for setup in wanted:
            yield from _cells(setup, progress)

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


def remembering(settings: dict[str, Any]) -> dict[str, Any]:
    """Pairs that are remembered, and never weighed: what others are compared with."""
    return {"miner": {**miner(settings), "warm_up": EPOCHS}}


def conditions(setup: Setup, best: dict[str, Any]) -> dict[str, list[Cell]]:
    """What is trained, by name: a cell for each seed."""
    planted = partial(_seeds, setup, setup.sorts)
    clean = partial(_seeds, setup, ())
    found = {
        "planted": planted(remembering(PUBLISHED)),
        "planted, published": planted({"miner": miner(PUBLISHED)}),
        "planted, chosen": planted({"miner": miner(best)}),
    }
    if "outlier" in setup.sorts:
        found["planted, chosen and uota"] = planted({"miner": miner(best), "arbiter": _UOTA})
    if setup.objective != SERIES:
        found["planted, listed left out"] = planted(remembering(LISTED), left_out="listed")
        found["planted, all left out"] = planted({}, left_out="planted")
    if setup.objective in OF_BATCHES:
        found["planted, left out of losses"] = planted({}, left_out="losses")
        found["planted, left out of losses and terms"] = planted({}, left_out="losses and terms")
    found["clean"] = clean(remembering(PUBLISHED))
    found["clean, published"] = clean({"miner": miner(PUBLISHED)})
    found["clean, chosen"] = clean({"miner": miner(best)})
    if setup.objective != SERIES:
        found["clean, listed left out"] = clean(remembering(LISTED), left_out="listed")
        found["clean, an eighth left out at random"] = clean({}, left_out="random")
    return found


def _seeds(
    setup: Setup, sorts: Sequence[str], pairs: dict[str, Any], *, left_out: str = "none"
) -> list[Cell]:
    return [
        Cell(
            objective=setup.objective,
            planted=list(sorts),
            share=setup.share if sorts else 0.0,
            left_out=left_out,
            pairs=pairs,
            seed=seed,
            stage="seeds",
        )
        for seed in range(SEEDS)
    ]


def best_of(lines: list[Line]) -> dict[str, Any]:
    """Of finished cells of the first stage, the settings with the best mean of both probes."""
    chosen = max(lines, key=lambda line: line["knn"] + line["linear"])["pairs"]["miner"]
    return {name: chosen[name] for name in PUBLISHED}


def tried(setup: Setup) -> list[Cell]:
    """The cells that settings are chosen by."""
    return [
        Cell(
            objective=setup.objective,
            planted=list(setup.sorts),
            share=setup.share,
            left_out="none",
            pairs={"miner": miner(settings)},
            seed=0,
            stage="settings",
        )
        for settings in GRID
    ]


def _cells(setup: Setup, progress: Progress[Cell]) -> Iterator[Cell]:
    """A setup's cells, as far as they are known yet."""
    yield from (choices := tried(setup))
    if not all(map(progress.over, choices)) or not (found := progress.lines(choices)):
        return
    of_conditions = conditions(setup, best_of(found)).values()
    for of_seed in zip(*of_conditions, strict=True):
        yield from of_seed


def _told(line: Line) -> str:
    last = line["epochs"][-1] if line["epochs"] else {}
    found = ", ".join(f"{name} {value:.3f}" for name, value in last.items() if "auc" in name)
    accuracies = f"kNN {line['knn']:.4f}, linear {line['linear']:.4f}"
    return f"{accuracies}; {found}; {line['wall_seconds']:.0f} s"


if __name__ == "__main__":
    typer.run(main)
