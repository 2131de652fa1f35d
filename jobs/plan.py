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
    from pipeline.recipe import Recipe
    from pipeline.sweeps.plan import SweepPlan

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file.")]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(help="Settings to change, as a.b=value.", show_default=False)
]

SpaceOption = Annotated[
    Path | None,
    typer.Option(help="YAML file with the `sweep` section, such as jobs/spaces/simclr.yaml."),
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
    space: SpaceOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a recipe would do; starts nothing and needs no cluster.

    Of a recipe with a `sweep` section, or with --space, also what the sweep would take.

    Example: python -m jobs plan jobs/recipes/images.yaml train.epochs=10
    """
    from pipeline.errors import Problem, UserError

    with reporting_errors(json):
        if epoch is not None and order is None:
            raise UserError(Problem("--epoch", "is of no use without --order FILE"))
        checked = _checked(recipe, overrides or [], space)
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
            *_network_rows(found),
            ("encoder", f"{found.encoder_parameters:,} parameters"),
            ("features", f"{found.features}, {found.feature_width} of each image"),
            ("with heads", f"{found.parameters:,} parameters"),
            ("memory", f"about {in_bytes(found.memory_bytes)} for each worker's training state"),
            *(("warning", text) for text in found.warnings),
        ]
        if checked.sweep is not None:
            from pipeline.sweeps.plan import plan_checked

            planned = plan_checked(checked)
            result["sweep"] = asdict(planned)
            rows += sweep_rows(planned)
        if order is not None:
            count = write_epoch_order(checked, order, epoch=epoch or 0)
            rows.append(("order", f"epoch {epoch or 0}, {count} samples, in {order}"))
            result["order"] = str(order.absolute())
        print_result(result, rows, title=f"Plan of {recipe}", as_json=json)


def _checked(recipe: Path, overrides: list[str], space: Path | None) -> Recipe:
    from pipeline.planning.check import checked_recipe, refuse_misspelt
    from pipeline.recipe_file import draft_recipe
    from pipeline.sweeps.spaces.reading import with_space

    values = with_space(recipe, space)
    if values.get("sweep") is None:
        return checked_recipe(values, overrides)
    refuse_misspelt(values, overrides)
    draft = draft_recipe(values, overrides)
    if draft.recipe is not None and draft.recipe.sweep is None and not draft.problems:
        return checked_recipe(values, overrides)
    from pipeline.sweeps.spaces.check import checked_sweep  # with torch

    return checked_sweep(values, overrides)


def sweep_rows(found: SweepPlan) -> Iterator[tuple[str, str]]:
    """What a sweep would take, as a person reads it."""
    seeds = f" of {found.seeds} runs each" if found.seeds > 1 else ""
    yield "sweep", f"{found.trials} trials{seeds} in {found.dimensions} dimensions"
    scheduler = f", {found.scheduler}" if found.scheduler else ""
    yield "searched by", f"{found.searcher}{scheduler}; first: {found.first}"
    yield "compared by", ", ".join(found.optimize)
    decisions = f"; decides at steps {_list(found.rungs)}" if found.rungs else ""
    yield (
        "looks",
        f"{found.looks} at a trial, every {found.look_every} of {found.steps} steps, "
        f"{found.look_samples} samples of each set{decisions}",
    )
    yield (
        "at a time",
        f"{found.concurrent} trials of {found.cores_of_trial:g} CPUs: {found.processes} processes, "
        f"about {in_bytes(found.memory_bytes)}",
    )
    yield "rate", f"{found.images_per_second:.0f} images/s a run, by steps on this machine"
    yield (
        "hours",
        f"at most {found.hours_at_most:.2g}, about {found.hours_about:.2g} with trials stopped "
        f"early; then {found.winner_hours:.2g} for the winner",
    )
    for caveat in found.caveats:
        yield "caveat", caveat


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


def _network_rows(found: Plan) -> Iterator[tuple[str, str]]:
    if found.cache_bytes_needed:
        held = in_bytes(found.cache_bytes_needed)
        yield "cache", f"{held} of disk hold the open windows of all streams on a node"
    if found.network_bytes_per_image:
        views = in_bytes(found.network_bytes_per_image)
        yield "network", f"{views} of views an image, from other nodes"


def _list(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers)
