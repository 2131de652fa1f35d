"""Seconds that imports and the cheapest commands take, beside those of `import torch`.

    python -m benchmarks.import_times --json

Each in a fresh process; rounds of all of them follow one another, after one that does not count and
fills the page cache. On a machine that others use too, trust the CPU seconds, user and system.
Ratios are medians of those of each round.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.shared.places import ROOT

_TORCH = "import torch"
_TYPO = "objective.temprature"
_IMPORTS = ("pipeline", "pipeline.recipe_file", "torch", "timm", "mlflow", "ray")


@dataclass(frozen=True, kw_only=True)
class _Command:
    """What python is called with, and what shows that it did what is timed."""

    arguments: tuple[str, ...]
    fails_over: str = ""
    """In what it says on stderr where it has to fail; empty where it must not."""


@dataclass(frozen=True, kw_only=True)
class _Timing:
    cpu: float
    wall: float


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Processes of each.")] = 5,
) -> None:
    """Time imports of ours and of the large libraries, `--help`, and a recipe's misspelt name."""
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder))
        rounds = [
            {name: _timed(name, command) for name, command in commands.items()}
            for _ in range(1 + repeats)
        ][1:]
    found = {name: _summary(name, rounds) for name in commands}
    _print_table(found)
    if json_:
        print(json.dumps({"repeats": repeats, "commands": found}))


def _commands(folder: Path) -> dict[str, _Command]:
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {
                "data": {"shards": str(folder / "missing")},
                "views": {"size": 16},
                "encoder": {
                    "name": "resnet10t",
                    "args": {"channels": [16, 16, 32, 32], "stem_width": 8},
                },
                "objective": {"projector": [32, 16]},
                "train": {"epochs": 3, "global_batch": 32},
            }
        )
    )
    imports = {f"import {name}": _Command(arguments=("-c", f"import {name}")) for name in _IMPORTS}
    jobs = ("-m", "jobs")
    return imports | {
        "jobs --help": _Command(arguments=(*jobs, "--help")),
        "jobs plan, a name misspelt": _Command(
            arguments=(*jobs, "plan", str(recipe), f"{_TYPO}=1"), fails_over=_TYPO
        ),
    }


def _timed(name: str, command: _Command) -> _Timing:
    """The process with those that it waited for.

    Raises:
        RuntimeError: it failed, or did not fail as it should.
    """
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command.arguments],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        told = said.read().decode(errors="replace")
    if bool(process.returncode) != bool(command.fails_over) or command.fails_over not in told:
        raise RuntimeError(f"{name} ended with exit code {process.returncode}: {told}")
    return _Timing(cpu=usage.ru_utime + usage.ru_stime, wall=wall)


def _summary(name: str, rounds: list[dict[str, _Timing]]) -> dict[str, Any]:
    pairs = [(timings[name], timings[_TORCH]) for timings in rounds]
    figures = {
        "cpu_s": statistics.median(own.cpu for own, _ in pairs),
        "wall_s": statistics.median(own.wall for own, _ in pairs),
        "cpu_ratio_torch": statistics.median(own.cpu / torch.cpu for own, torch in pairs),
        "wall_ratio_torch": statistics.median(own.wall / torch.wall for own, torch in pairs),
    }
    return {key: round(value, 3) for key, value in figures.items()}


def _print_table(found: dict[str, dict[str, Any]]) -> None:
    table = Table("", "CPU s", "wall s", "CPU ÷ torch", "wall ÷ torch")
    for name, figures in found.items():
        table.add_row(name, *(f"{figure:.2f}" for figure in figures.values()))
    Console(stderr=True).print(table)


if __name__ == "__main__":
    typer.run(main)
