"""Runs the cells of a study in processes, and keeps what they found in a file of JSON lines.

A cell that is in the file is not run again; beside a cell that failed the others go on.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import typer

Line = dict[str, Any]


class Mean(NamedTuple):
    """Of seeds, with its standard error; NaN for the error of a single one."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.1f}" + ("" if math.isnan(self.error) else f" ± {self.error:.1f}")


def mean_of(figures: Sequence[float]) -> Mean:
    """The mean of some figures, one for each seed."""
    values = np.array(figures)
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return Mean(float(values.mean()), float(error))


def difference(one: Mean, other: Mean) -> Mean:
    """How much more one is, with the standard error of that; a single figure counts as exact."""
    errors = [mean.error for mean in (one, other) if not math.isnan(mean.error)]
    return Mean(one.value - other.value, math.hypot(*errors) if errors else math.nan)


Images = Annotated[Path, typer.Argument(help=".npz: x_train, y_train, x_test, y_test")]
Out = Annotated[Path, typer.Option(help="JSON lines of finished cells.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")]
Only = Annotated[str, typer.Option(help="Methods, separated by commas; empty: all.")]
Steps = Annotated[int, typer.Option(help="Of each cell, to try it out; 0: all.")]
"""What every study asks for."""


class Cell(Protocol):
    """One training with its probes, a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def key(self) -> str:
        """Equal for equal cells."""


C = TypeVar("C", bound=Cell)


@dataclass(kw_only=True)
class Progress(Generic[C]):
    """Cells that are finished, by key, and keys of those that failed."""

    done: dict[str, Line] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def over(self, cell: C) -> bool:
        """Whether nothing more is to come of it."""
        return cell.key in self.done or cell.key in self.failed

    def lines(self, cells: Iterable[C]) -> list[Line]:
        """Of those that are finished."""
        return [self.done[cell.key] for cell in cells if cell.key in self.done]


def finished(out: Path) -> list[Line]:
    """The lines of a file of cells, if there is one."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def write_between(page: Path, name: str, parts: Iterable[str]) -> None:
    """Put paragraphs between a page's two markers of this name.

    Raises:
        typer.BadParameter: the page lacks one.
    """
    markers = [f"<!-- {name}:{side} -->" for side in ("begin", "end")]
    before, begin, rest = page.read_text().partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not (begin and end):
        raise typer.BadParameter(f"{page} lacks {' or '.join(markers)}")
    page.write_text("\n\n".join([f"{before}{begin}", *parts, f"{end}{after}"]))


def run_study(
    kind: type[C],
    cells: Callable[[Progress[C]], Iterator[C]],
    work: Callable[[C], Line],
    told: Callable[[Line], str],
    *,
    out: Path,
    jobs: int,
) -> None:
    """Run the cells that are missing, with one line on stderr for each.

    Args:
        kind: of the cells; a line has its fields.
        cells: those that are known to be wanted, given what is finished; the first ones first.
        work: runs one, in a process of one thread, and gives its line.
        told: a line's figures for stderr.
        out: has a line for each finished cell, and gets one for each that this call finishes.
        jobs: processes.

    Raises:
        typer.Exit: a cell failed.
    """
    names = [field.name for field in fields(kind)]
    progress: Progress[C] = Progress(
        done={kind(**{name: line[name] for name in names}).key: line for line in finished(out)}
    )
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # before a process starts; torch is told by each cell
    with (
        out.open("a") as file,
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool,
    ):
        running: dict[Future[Line], C] = {}
        while True:
            busy = {cell.key for cell in running.values()}
            free = (c for c in cells(progress) if not progress.over(c) and c.key not in busy)
            while len(running) < jobs and (cell := next(free, None)) is not None:
                running[pool.submit(work, cell)] = cell
            if not running:
                break
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                _note(running.pop(future), future, progress, told, file)
    if progress.failed:
        raise typer.Exit(1)


def _note(
    cell: C,
    future: Future[Line],
    progress: Progress[C],
    told: Callable[[Line], str],
    file: IO[str],
) -> None:
    error = future.exception()
    if error is not None:
        progress.failed.add(cell.key)
        print(f"{cell.key}: failed: {error!r}", file=sys.stderr, flush=True)
        return
    line = future.result()
    progress.done[cell.key] = line
    print(json.dumps(line), file=file, flush=True)
    print(f"{cell.key}: {told(line)}", file=sys.stderr, flush=True)
