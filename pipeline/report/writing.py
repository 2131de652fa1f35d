"""From a run's folder to its report: gathers what the page is drawn from, and writes the page."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.data import storage
from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe
from pipeline.report.drawing.page import render_page
from pipeline.report.facts import BadPairs, RunRecord
from pipeline.report.gathering.bad_pairs import BadPairFiles, write_bad_pairs
from pipeline.report.gathering.run_facts import run_facts, run_record, stored_recipe
from pipeline.runs.folder import RunFolder, read_json

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where a report's files are."""

    page: str
    bad_pairs: BadPairFiles | None  # None: nothing weighs the run's pairs, or none can be listed
    tracked: bool = False  # whether the run's MLflow run has them

    @property
    def files(self) -> list[str]:
        """All of them."""
        listed = self.bad_pairs
        return [self.page, *([listed.list, listed.sheet] if listed else [])]


def report_of_folder(location: str, *, against: str | None = None) -> Report:
    """Write the report of any run that has begun, whatever became of it.

    Args:
        location: folder or URI of the run.
        against: the same of another run, which it is compared with; of that one nothing but its
            own files is read.

    Returns:
        Where it is.

    Raises:
        UserError: there is no run, or no other one, or a folder cannot be read or written.
    """
    given = {"run": location} if against is None else {"run": location, "--against": against}
    problems = [found for where, each in given.items() if (found := _problem(where, each))]
    if not problems and against is not None and _are_the_same(location, against):
        problems = [Problem("--against", f"{against} is the run itself; give another one")]
    if problems:
        raise UserError(problems)
    other = None if against is None else _other(against)
    folder = RunFolder(storage.absolute(location))
    try:
        return write_report(stored_recipe(folder), folder, against=other)
    except OSError as error:
        raise UserError(Problem(location, f"cannot be read or written: {_line(error)}")) from error


def _problem(where: str, location: str) -> Problem | None:
    away = storage.unreachable(location)
    if away is not None:
        return Problem(where, away)
    if not storage.exists(RunFolder(storage.absolute(location)).identity):
        return Problem(location, "is not the folder of a run: it has no run.json")
    return None


def _are_the_same(location: str, other: str) -> bool:
    """Whether two locations are of one run, by whatever names."""
    one, another = (RunFolder(storage.absolute(each)) for each in (location, other))
    return one.location == another.location or read_json(one.identity) == read_json(
        another.identity
    )


def _other(location: str) -> RunRecord:
    try:
        return run_record(RunFolder(storage.absolute(location)))
    except (OSError, ValueError) as error:  # not all there, or no JSON
        raise UserError(Problem(location, f"cannot be read: {_line(error)}")) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def report_or_warning(
    recipe: Recipe, folder: RunFolder, result: Mapping[str, Any]
) -> Report | None:
    """Write the report of a run that has just ended; None, and a warning, if that fails.

    Whatever goes wrong with a picture, a run that has trained is not lost for it.
    """
    try:
        return write_report(recipe, folder, result)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        log.warning(
            "the report could not be written (%s); `python -m jobs report %s` tries again",
            reason,
            folder.location,
        )
        return None


def write_report(
    recipe: Recipe | None,
    folder: RunFolder,
    result: Mapping[str, Any] | None = None,
    *,
    against: RunRecord | None = None,
) -> Report:
    """Write a run's report into its folder: the page, and the list of bad pairs if there is one.

    Args:
        recipe: of the run; None if this version cannot read it.
        folder: of the run.
        result: of the run, if it has ended and its folder does not have it yet.
        against: another run that it is compared with.

    Returns:
        Where it is.

    Raises:
        OSError: a file of the run cannot be read, or the report not be written.
    """
    facts = run_facts(recipe, folder, result, against)
    page = render_page(facts)
    listed = None
    if isinstance(facts.bad_pairs, BadPairs):
        listed = write_bad_pairs(facts.bad_pairs, folder)
    storage.write_file(folder.report, page.encode())
    return Report(page=folder.report, bad_pairs=listed)
