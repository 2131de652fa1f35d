"""`init`: a first recipe for one's own images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.output import JsonOption, print_result, reporting_errors

if TYPE_CHECKING:
    from pipeline.planning.first_recipe import FirstRecipe
    from pipeline.planning.found_data import FoundData


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(init)


def init(
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder of images, an .npz, a Parquet file or folder of them, or shards that "
            "`shard` wrote. Without it the recipe has placeholders.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="The recipe's file.")] = Path("recipe.yaml"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace a recipe that is there already.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a first recipe, with comments, that fits your images and this machine.

    It looks at how many images there are, how large, and with which labels; reads no more than some
    headers; starts nothing. Beside the recipe it puts recipe.schema.json, by which editors complete
    and check it.

    Example: python -m jobs init --data photos/
    """
    import pipeline

    with reporting_errors(json):
        first = pipeline.init_recipe(data, output, force=force)
        print_result(_facts(first), _rows(first), title=f"Wrote {output}", as_json=json)
        if not json:  # as they stand, so that they can be copied: a table would break them
            print("\nNext:", *first.commands, sep="\n  ")


def _facts(first: FirstRecipe) -> dict[str, Any]:
    return {
        "recipe": str(first.recipe.absolute()),
        "schema": str(first.schema.absolute()) if first.schema else None,
        "data": asdict(first.data) if first.data else None,
        "machine": asdict(first.machine),
        "commands": first.commands,
    }


def _rows(first: FirstRecipe) -> list[tuple[str, str]]:
    found, machine = first.data, first.machine
    rows = [
        ("data", _told(found) if found else "none given: fill in the lines that say SET THIS"),
        ("machine", f"{machine.cpus} CPUs, {machine.gpus} GPUs"),
    ]
    if first.schema is None:
        rows.append(("schema", "not written: recipe.schema.json beside the recipe is another file"))
    return rows


def _told(found: FoundData) -> str:
    labels = {0: "no labels", 1: "1 class"}.get(found.classes, f"{found.classes} classes")
    kind = {"folder": "image files", "npz": "images", "parquet": "rows", "shards": "samples"}
    grey = ", grey" if found.grey else ""
    return f"{found.samples} {kind[found.kind]}, {labels}, shorter side {found.side} px{grey}"
