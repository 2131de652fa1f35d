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
    against: Annotated[
        str | None,
        typer.Option(help="Folder or URI of another run, to be compared with.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a run's report.html: what it learnt and from what; also while it trains.

    It begins with a summary, and has probes, a map of features, curves, bad pairs and the recipe.
    With --against another run stands beside it: probes, curves, and how the recipes differ.

    Where pairs are mined or arbitrated it lists the bad ones too, in bad_pairs.parquet, and shows
    the worst in bad_pairs.png. MLflow gets all of them.

    Example: python -m jobs report runs/images/simclr-resnet18-1f0c9a2b
    """
    from pipeline.report.tracked_report import draw_report

    with reporting_errors(json):
        report = draw_report(folder, against=against)
        bad_pairs = report.bad_pairs.as_json() if report.bad_pairs else None
        result = {
            "run": folder,
            "against": against,
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
