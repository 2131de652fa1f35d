"""What the finished cells of the study of bad pairs say of a condition."""

from __future__ import annotations

from benchmarks.bad_pairs.cell import Cell
from benchmarks.bad_pairs.run import Setup, best_of, conditions, tried
from benchmarks.shared.study import Line, Mean, mean_of

PROBES = {"knn": "kNN", "linear": "linear"}


def of_settings(lines: list[Line], setup: Setup) -> list[Line]:
    """The cells that the miner's settings are chosen by, as far as they are there."""
    return _of_cells(lines, tried(setup))


def of_conditions(lines: list[Line], setup: Setup) -> dict[str, list[Line]]:
    """Seeds by condition, of conditions that have any; none before settings can be chosen."""
    settings = of_settings(lines, setup)
    if not settings:
        return {}
    wanted = conditions(setup, best_of(settings))
    return {name: own for name, cells in wanted.items() if (own := _of_cells(lines, cells))}


def gain(mine: list[Line], other: list[Line], probe: str) -> Mean:
    """Mean difference, in points, of runs of one seed, which planted the same and began alike."""
    of_mine, of_other = ({x["seed"]: 100 * x[probe] for x in each} for each in (mine, other))
    return mean_of([of_mine[seed] - of_other[seed] for seed in of_mine.keys() & of_other.keys()])


def _of_cells(lines: list[Line], cells: list[Cell]) -> list[Line]:
    return [
        line
        for cell in cells
        for line in lines
        if all(line[name] == value for name, value in vars(cell).items())
    ]
