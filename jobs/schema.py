"""`schema`: what a recipe may say, for editors and other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.output import JsonOption, print_result, reporting_errors


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(schema)


def schema(
    output: Annotated[
        Path | None,
        typer.Option(help="File to write, in place of stdout.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the JSON schema of recipes: every setting, its type, range, default and meaning.

    An editor that knows YAML completes and checks a recipe by it if the recipe begins with
    # yaml-language-server: $schema=FILE

    Example: python -m jobs schema --output recipe.schema.json
    """
    from pipeline.json_schema import recipe_schema, schema_as_text, write_schema

    with reporting_errors(json):
        if output is not None:
            write_schema(output)
            result = {"schema": str(output.absolute())}
            print_result(result, [("schema", str(output))], title="Schema", as_json=json)
        elif json:
            print_result(recipe_schema(), [], title="", as_json=True)
        else:
            print(schema_as_text(), end="")
