"""`fetch`: a registered encoder as plain files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.evaluate import TrackingOption, UriArgument
from jobs.output import JsonOption, print_result, reporting_errors


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(fetch)


def fetch(
    uri: UriArgument,
    dest: Annotated[Path, typer.Argument(help="Folder to write; new or empty.")],
    tracking_uri: TrackingOption = None,
    json: JsonOption = False,
) -> None:
    """Write an encoder's weights, config and model card into a folder.

    The weights load into plain timm; the card shows how.

    Example: python -m jobs fetch models:/encoder@candidate my-encoder/
    """
    from pipeline.registry import resolve

    with reporting_errors(json):
        files = resolve.fetch(uri, dest, tracking_uri=tracking_uri)
        rows = [(path.name, str(path)) for path in files]
        result = {"encoder": uri, "files": [str(path) for path in files]}
        print_result(result, rows, title=f"Fetched {uri}", as_json=json)
