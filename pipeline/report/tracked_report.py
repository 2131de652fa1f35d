"""A run's report, beside its other files in MLflow."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from pipeline.registry.tracking import TrackedRun
from pipeline.registry.tracking_server import SQLITE, unreachable
from pipeline.report.writing import Report, report_of_folder
from pipeline.runs.folder import RunFolder, read_json

log = logging.getLogger(__name__)


def draw_report(location: str | Path, *, against: str | Path | None = None) -> Report:
    """Write the report of any run that has begun, into its folder and its MLflow run.

    Args:
        location: folder or URI of the run.
        against: the same of another run, wherever it is: the report has both side by side then.

    Returns:
        Where its files are, and whether MLflow has them.

    Raises:
        UserError: there is no run, the other is none or the same, or the folder cannot be read or
            written.
    """
    report = report_of_folder(str(location), against=None if against is None else str(against))
    return replace(report, tracked=track_report(report, RunFolder(str(location))))


def track_report(report: Report, folder: RunFolder) -> bool:
    """Put a report that was drawn anew into its MLflow run, in place of the one before.

    Args:
        report: of the run.
        folder: of the run; says where MLflow is.

    Returns:
        Whether MLflow has it now; if not, a warning says why. The report is in the folder anyway.
    """
    noted = read_json(folder.identity)
    uri = noted["tracking_uri"]
    away = _away(uri)
    if away is None:
        try:
            TrackedRun(uri, noted["run_id"]).log_files(report.files)
        except Exception as error:  # a store's own, such as of credentials that are missing
            away = " ".join(str(error).split())
    if away is not None:
        log.warning("the report is not in MLflow: %s", away)
    return away is None


def _away(uri: str) -> str | None:
    """Why MLflow cannot be asked; a file of SQLite that is not there would be made."""
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return f"{uri} does not exist here"
    problem = unreachable(uri)
    return problem.message if problem else None
