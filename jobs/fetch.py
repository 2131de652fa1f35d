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
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write encoder.onnx too, and compare the two.")
    ] = False,
    tracking_uri: TrackingOption = None,
    json: JsonOption = False,
) -> None:
    """Write an encoder's weights, config and model card into a folder.

    timm alone loads it, and so it is a repository for the Hugging Face hub; the card shows how. A
    download that breaks goes on when the command is given again.

    Example: python -m jobs fetch models:/encoder@candidate my-encoder/
    """
    from pipeline.registry.versions import resolve

    with reporting_errors(json):
        fetched = resolve.fetch(uri, dest, onnx=onnx, tracking_uri=tracking_uri)
        rows = [(path.name, str(path)) for path in fetched.files]
        exported = fetched.onnx
        if exported:
            rows.append(("difference of ONNX", f"{exported.difference:.1e} of the largest feature"))
        result = {
            "encoder": uri,
            "files": [str(path) for path in fetched.files],
            "onnx_difference": exported.difference if exported else None,
        }
        print_result(result, rows, title=f"Fetched {uri}", as_json=json)
