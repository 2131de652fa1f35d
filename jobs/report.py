"""`report`: the page about a run, drawn or drawn anew."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.output import JsonOption, print_result, reporting_errors


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(report)


def report(
    folder: Annotated[str, typer.Argument(help="Folder or URI of a run.", show_default=False)],
    json: JsonOption = False,
) -> None:
    """Write a run's report.html: curves, probes, views, samples; also while it trains.

    Example: python -m jobs report runs/images/simclr-resnet18-1f0c9a2b
    """
    from pipeline.training.reporting import report_of_folder

    with reporting_errors(json):
        location = report_of_folder(folder)
        result = {"run": folder, "report": location}
        print_result(result, [("report", location)], title=f"Report of {folder}", as_json=json)
