"""`sweep`: the settings of a recipe searched, and the best ones trained and registered."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobs.output import JsonOption, only_results_on_stdout, print_result, reporting_errors
from jobs.plan import OverridesArgument, RecipeArgument, SpaceOption


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(sweep)


def sweep(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    space: SpaceOption = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Configurations that are tried.  [default: 20]")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="Hours of search; the winner is trained after them.")
    ] = None,
    concurrent: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at a time.  [default: as many as there is room for]"),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of each configuration.  [default: 1]")
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(help="Folder of an earlier sweep, whose best configurations come first."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start another sweep rather than take this one up.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Ray's own log.")] = False,
    json: JsonOption = False,
) -> None:
    """Search the settings of a recipe with Ray Tune; train, test and register the best ones.

    Trials are scored on a part of evaluate.train, never on the test set, or by a score that needs
    no labels. The same command again takes up an unfinished sweep, and a finished one whose
    --trials or --hours have grown. Ctrl-C once lets running trials write a checkpoint.

    Example: python -m jobs sweep jobs/recipes/images.yaml --space jobs/spaces/simclr.yaml
    """
    import pipeline
    from pipeline.planning.check import refuse_misspelt
    from pipeline.sweeps.spaces.reading import with_space

    told = {"trials": trials, "hours": hours, "concurrent": concurrent, "seeds": seeds}
    settings = [f"sweep.{name}={value}" for name, value in told.items() if value is not None]
    with reporting_errors(json):
        with only_results_on_stdout():
            refuse_misspelt(with_space(recipe, space), [*(overrides or []), *settings])
            done = pipeline.sweep(
                recipe,
                [*(overrides or []), *settings],
                space=space,
                warm_start=warm_start,
                fresh=fresh,
                verbose=verbose,
            )
        title = "Finished before" if done.already_finished else "Finished"
        title = f"{title}: {done.figures['sweep']}"
        print_result(done.figures, rows_of(done.figures), title=title, as_json=json)


def rows_of(result: dict[str, Any]) -> list[tuple[str, str]]:
    """The result as a person reads it."""
    from pipeline.sweeps.outcome import scores_text

    best = result["best"]
    counts = [
        f"{result[state]} {state}"
        for state in ("finished", "pruned", "collapsed", "failed", "halted")
        if result[state]
    ]
    rows = [
        ("trials", f"{result['trials']}: {', '.join(counts)}"),
        (
            "core hours",
            f"{result['core_hours']:.2f}, and {result['core_hours_saved']:.2f} saved by stopping",
        ),
        ("best", f"trial {best['trial']}"),
        *((f"  {path}", str(value)) for path, value in best["params"].items()),
        ("validation", scores_text(best["validation"])),
        ("test", scores_text(best["test"]) if best["test"] else "none, without labelled sets"),
        ("model", best["model"]["uri"]),
        ("encoder", best["encoder"]),
        ("page", result["page"]),
    ]
    rows += [
        (f"trial {failure['trial']}", f"{failure['state']}: {failure['reason']}")
        for failure in result["failures"]
    ]
    return rows
