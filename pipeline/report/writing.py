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
from pipeline.report.facts import BadPairs
from pipeline.report.gathering.bad_pairs import BadPairFiles, write_bad_pairs
from pipeline.report.gathering.run_facts import run_facts, stored_recipe
from pipeline.runs.folder import RunFolder

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


def report_of_folder(location: str) -> Report:
    """Write the report of any run that has begun, whatever became of it.

    Args:
        location: folder or URI of the run.

    Returns:
        Where it is.

    Raises:
        UserError: there is no run, or its folder cannot be read or written.
    """
    away = storage.unreachable(location)
    if away is not None:
        raise UserError(Problem("run", away))
    folder = RunFolder(storage.absolute(location))
    if not storage.exists(folder.identity):
        raise UserError(Problem(location, "is not the folder of a run: it has no run.json"))
    try:
        return write_report(stored_recipe(folder), folder)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise UserError(Problem(location, f"cannot be read or written: {reason}")) from error


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
    recipe: Recipe | None, folder: RunFolder, result: Mapping[str, Any] | None = None
) -> Report:
    """Write a run's report into its folder: the page, and the list of bad pairs if there is one.

    Args:
        recipe: of the run; None if this version cannot read it.
        folder: of the run.
        result: of the run, if it has ended and its folder does not have it yet.

    Returns:
        Where it is.

    Raises:
        OSError: a file of the run cannot be read, or the report not be written.
    """
    facts = run_facts(recipe, folder, result)
    page = render_page(facts)
    listed = None
    if isinstance(facts.bad_pairs, BadPairs):
        listed = write_bad_pairs(facts.bad_pairs, folder)
    storage.write_file(folder.report, page.encode())
    return Report(page=folder.report, bad_pairs=listed)
