"""What verbs have in common: tables for people, one JSON line for programs, exit codes."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.errors import InterruptedRunError, Problem, UserError

JsonOption = Annotated[
    bool, typer.Option("--json", help="End with one JSON line on stdout; all else goes to stderr.")
]


@contextmanager
def reporting_errors(as_json: bool) -> Iterator[None]:
    """Turn a user's mistakes into one message and exit code 2; anything else ends with 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        yield
    except UserError as error:
        print_problems(error.problems, as_json)
        raise typer.Exit(2) from None
    except InterruptedRunError as error:
        print(f"error: {error}", file=sys.stderr)
        if as_json:
            print(json.dumps({"errors": [Problem("run", str(error))._asdict()]}))
        raise typer.Exit(1) from None
    except Exception as error:
        if as_json:
            problem = Problem(type(error).__name__, str(error))
            print(json.dumps({"errors": [problem._asdict()]}))
        raise


@contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Send to stderr whatever the body, or a library or process under it, writes to stdout."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)


def print_problems(problems: Iterable[Problem], as_json: bool) -> None:
    """Print every problem, for people and, if asked, as JSON."""
    found = list(problems)
    count = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
    print(f"{count}, nothing was changed:", file=sys.stderr)
    for problem in found:
        print(f"  {problem}", file=sys.stderr)
    if as_json:
        print(json.dumps({"errors": [problem._asdict() for problem in found]}))


def print_result(
    result: Mapping[str, Any], rows: Iterable[tuple[str, str]], *, title: str, as_json: bool
) -> None:
    """Print a result: a table of rows, or the whole of it as one JSON line."""
    if as_json:
        print(json.dumps(result), flush=True)
        return
    table = Table(
        title=Text(title), title_justify="left", show_header=False, box=None, padding=(0, 2)
    )
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    Console().print(table)


def rows_of_scores(
    result: Mapping[str, Any], *, floors: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Probe scores as a person reads them: a row for each, its floors beside it.

    Args:
        result: with `probes` and `intervals`.
        floors: name to suffix of the scores that are floors, not rows.
    """
    accuracies, intervals = result["probes"], result["intervals"]
    rows = []
    for name, accuracy in accuracies.items():
        if name.endswith(tuple(floors.values())):
            continue
        low, high = intervals[name]
        beside = [
            f"{floor} {accuracies[name + suffix]:.3f}"
            for floor, suffix in floors.items()
            if name + suffix in accuracies
        ]
        floor_text = f"  ({', '.join(beside)})" if beside else ""
        rows.append((name, f"{accuracy:.3f} [{low:.3f}, {high:.3f}]{floor_text}"))
    return rows


def in_bytes(count: int) -> str:
    """A number of bytes as a person reads it."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
