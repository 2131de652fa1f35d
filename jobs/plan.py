"""`plan`: what a recipe would do, and every mistake in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.output import JsonOption, in_bytes, print_result, reporting_errors

if TYPE_CHECKING:
    from pipeline.planning.plan import Plan

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file.")]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(help="Settings to change, as a.b=value.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(plan)


def plan(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    order: Annotated[
        Path | None,
        typer.Option(help="Parquet file for an epoch's order: which sample in which batch."),
    ] = None,
    epoch: Annotated[
        int | None, typer.Option(min=0, help="The epoch of --order.  [default: 0]")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show what a recipe would do; starts nothing and needs no cluster.

    Example: python -m jobs plan jobs/recipes/images.yaml train.epochs=10
    """
    from pipeline.errors import Problem, UserError
    from pipeline.planning.check import checked_recipe

    with reporting_errors(json):
        if epoch is not None and order is None:
            raise UserError(Problem("--epoch", "is of no use without --order FILE"))
        checked = checked_recipe(recipe, overrides or [])
        from pipeline.planning.plan import plan_recipe, write_epoch_order  # with torch

        found = plan_recipe(checked)
        result = asdict(found)
        rows = [
            ("samples", f"{found.samples} in {found.shards} shards"),
            *_exclusion_rows(found, told=checked.data.exclude is not None),
            *_source_rows(found.sources),
            ("streams", f"{found.streams}; workers may be {_list(found.allowed_workers)}"),
            ("workers", f"{found.workers}, each with {found.local_batch} samples of a batch"),
            ("steps", f"{found.steps} = {found.epochs:g} epochs of {found.steps_per_epoch}"),
            ("dropped tail", f"{found.dropped_tail} samples an epoch"),
            *([("repeated", f"{found.repeated} samples an epoch")] if found.repeated else []),
            ("batch", f"{in_bytes(found.batch_bytes)} for each worker"),
            ("in flight", f"at most {in_bytes(found.in_flight_bytes)} for each worker"),
            ("encoder", f"{found.encoder_parameters:,} parameters"),
            ("features", f"{found.features}, {found.feature_width} of each image"),
            ("with heads", f"{found.parameters:,} parameters"),
            ("memory", f"about {in_bytes(found.memory_bytes)} for each worker's training state"),
            *(("warning", text) for text in found.warnings),
        ]
        if order is not None:
            count = write_epoch_order(checked, order, epoch=epoch or 0)
            rows.append(("order", f"epoch {epoch or 0}, {count} samples, in {order}"))
            result["order"] = str(order.absolute())
        print_result(result, rows, title=f"Plan of {recipe}", as_json=json)


def _exclusion_rows(found: Plan, *, told: bool) -> Iterator[tuple[str, str]]:
    if told:
        left = found.samples - found.excluded
        yield "excluded", f"{found.excluded} samples, by data.exclude; {left} are left"


def _source_rows(sources: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    if len(sources) > 1:
        for source in sources:
            share = f"{source['share']:.1%} of each batch, in {source['streams']} streams"
            excluded = f", {source['excluded']} of them excluded" if source["excluded"] else ""
            yield source["path"], f"{source['samples']} samples{excluded}, {share}"


def _list(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers)
