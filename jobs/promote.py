"""`promote`: an alias to a version that passes a gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.evaluate import TrackingOption
from jobs.output import JsonOption, print_result, reporting_errors

if TYPE_CHECKING:
    from pipeline.registry import promotion


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(promote)


def promote(
    name: Annotated[str, typer.Argument(help="A registered model.", show_default=False)],
    version: Annotated[
        int | None,
        typer.Option(min=1, help="Its version.  [default: @candidate]", show_default=False),
    ] = None,
    to: Annotated[str, typer.Option(help="The alias.")] = "champion",
    force: Annotated[
        bool, typer.Option("--force", help="Whatever the gate says; a tag keeps what it said.")
    ] = False,
    train: Annotated[
        str | None,
        typer.Option(help="Labelled shards to fit probes of both on.", show_default=False),
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="Labelled shards to score both on.", show_default=False)
    ] = None,
    tracking_uri: TrackingOption = None,
    json: JsonOption = False,
) -> None:
    """Point an alias to a version, if it is not worse than the version that has it.

    The gate: files are whole and give what the trained encoder gave, features did not collapse,
    and no probe is worse than the present one's beyond its interval, on the same probe data.
    Without labels the label-free panel decides. If the gate is not passed the exit code is 1.

    Example: python -m jobs promote encoder --to champion
    """
    from pipeline.registry import promotion

    with reporting_errors(json):
        found = promotion.promote(
            name,
            version=version,
            to=to,
            force=force,
            train=train,
            test=test,
            tracking_uri=tracking_uri,
        )
        result = {
            "model": found.name,
            "version": found.version,
            "alias": found.alias,
            "before": found.before,
            "promoted": found.promoted,
            "forced": found.forced,
            "checks": [check._asdict() for check in found.checks],
        }
        rows = [
            (check.name, f"{'passed' if check.passed else 'NOT PASSED'}: {check.message}")
            for check in found.checks
        ]
        print_result(result, rows, title=_title(found), as_json=json)
    if not found.promoted:
        raise typer.Exit(1)


def _title(found: promotion.Promotion) -> str:
    if found.forced:
        return f"{found.uri} is version {found.version} now, though the gate was not passed"
    if found.promoted:
        return f"{found.uri} is version {found.version} now"
    stays = f"stays version {found.before}" if found.before else "is not set"
    return f"{found.uri} {stays}: version {found.version} did not pass"
