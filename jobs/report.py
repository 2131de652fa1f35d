"""`report`: the page about a run, drawn or drawn anew."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobs.output import JsonOption, print_result, reporting_errors


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(report)


def report(
    folder: Annotated[str, typer.Argument(help="Folder or URI of a run.", show_default=False)],
    json: JsonOption = False,
) -> None:
    """Write a run's report.html: curves, probes, bad pairs, views; also while it trains.

    Where pairs are mined or arbitrated it lists the bad ones too, in bad_pairs.parquet, and shows
    the worst in bad_pairs.png. MLflow gets all of them.

    Example: python -m jobs report runs/images/simclr-resnet18-1f0c9a2b
    """
    from pipeline.report.tracked_report import draw_report

    with reporting_errors(json):
        report = draw_report(folder)
        bad_pairs = report.bad_pairs.as_json() if report.bad_pairs else None
        result = {
            "run": folder,
            "report": report.page,
            "bad_pairs": bad_pairs,
            "tracked": report.tracked,
        }
        rows = [("report", report.page), *rows_of_bad_pairs(bad_pairs)]
        print_result(result, rows, title=f"Report of {folder}", as_json=json)


def rows_of_bad_pairs(bad_pairs: dict[str, Any] | None) -> list[tuple[str, str]]:
    """The list of bad pairs as a person reads of it; nothing where there is none."""
    if bad_pairs is None:
        return []
    counts = ", ".join(f"{count} {sort}" for sort, count in bad_pairs["counts"].items())
    return [("bad pairs", f"{counts}: {bad_pairs['list']}"), ("contact sheet", bad_pairs["sheet"])]
