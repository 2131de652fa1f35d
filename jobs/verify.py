"""`verify`: proves that an encoder is what its run ends with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobs.evaluate import TrackingOption
from jobs.output import JsonOption, only_results_on_stdout, print_result, reporting_errors

_SHOWN = 5


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(verify)


def verify(
    uri: Annotated[
        str,
        typer.Argument(
            help="models:/NAME@ALIAS, models:/NAME/VERSION, or the folder of a finished run."
        ),
    ],
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Replay at least so many; all of a run's: from its start.  "
            "[default: from the newest checkpoint before the last]",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="Folder or URI of the run, if it has moved.  [default: what is recorded]",
            show_default=False,
        ),
    ] = None,
    tracking_uri: TrackingOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Ray's own log.")] = False,
    json: JsonOption = False,
) -> None:
    """Replay the last steps of an encoder's run, and compare the weights, bit by bit.

    Nothing of the run is changed. Ends with 0 if the weights are those that the run ends with, and
    with 1 if they are not.

    Example: python -m jobs verify models:/encoder@candidate
    """
    import pipeline

    with reporting_errors(json):
        with only_results_on_stdout():
            found = pipeline.verify(
                uri, steps=steps, run=run, tracking_uri=tracking_uri, verbose=verbose
            )
        title = f"{found.verdict.replace('_', ' ')}: {uri}"
        print_result(found.as_json(), _rows(found.as_json()), title=title, as_json=json)
    if not found.holds:
        raise typer.Exit(1)


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The result as a person reads it."""
    differing = found["tensors_differing"]
    rows = [
        ("run", found["run"]),
        (
            "replayed",
            f"steps {found['from_step'] + 1} to {found['to_step']} on {found['workers']} workers, "
            f"in {found['seconds']:.0f} s",
        ),
        ("tensors", f"{found['tensors'] - len(differing)} of {found['tensors']} bitwise the same"),
    ]
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        rows.append(("differing", f"{', '.join(differing[:_SHOWN])}{more}"))
        rows.append(("by at most", _largest(found)))
    if not found["file_unchanged"]:
        rows.append(("file", "its sha256 is not the one that it was made with"))
    rows += [("otherwise", f"{told}: bits may differ") for told in found["changes"]]
    return rows


def _largest(found: dict[str, Any]) -> str:
    if found["max_abs_difference"] is None:
        return "what cannot be compared: a tensor is missing, has another shape or is not a number"
    share = found["max_share_of_way"]
    way = "" if share is None else f", {share:.2g} of the way that the replayed steps made"
    return f"{found['max_abs_difference']:.3g}, relative {found['max_rel_difference']:.3g}{way}"
