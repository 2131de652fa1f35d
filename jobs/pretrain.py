"""`pretrain`: a recipe in, a probed and registered encoder out."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobs.output import (
    JsonOption,
    only_results_on_stdout,
    print_result,
    reporting_errors,
    rows_of_scores,
)
from jobs.plan import OverridesArgument, RecipeArgument
from jobs.report import rows_of_bad_pairs

_PANEL = ("rankme", "lidar", "alpha_req", "uniformity", "alignment")


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(pretrain)


def pretrain(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start another run rather than take this one up.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Ray's own log.")] = False,
    json: JsonOption = False,
) -> None:
    """Pretrain an encoder: Ray Data, Ray Train, probes, MLflow run, registered model.

    Without RAY_ADDRESS it starts a Ray of its own, without MLFLOW_TRACKING_URI it keeps MLflow in
    an SQLite file. The same command again takes up an unfinished run where it stopped, and prints
    the result of a finished one.

    Example: python -m jobs pretrain jobs/recipes/images.yaml train.epochs=10
    """
    import pipeline
    from pipeline.planning.check import refuse_misspelt

    with reporting_errors(json):
        with only_results_on_stdout():
            refuse_misspelt(recipe, overrides or [])
            done = pipeline.pretrain(recipe, overrides or [], fresh=fresh, verbose=verbose)
        title = "Finished before" if done.already_finished else "Finished"
        title = f"{title}: run {done.figures['run']}"
        print_result(done.figures, rows_of(done.figures), title=title, as_json=json)


def rows_of(result: dict[str, Any]) -> list[tuple[str, str]]:
    """The result as a person reads it."""
    samples = result["samples"]
    rows = [
        ("steps", f"{result['steps']} ({result['epochs']:g} epochs), loss {result['loss']:.3f}"),
        (
            "speed",
            f"{result['images_per_second']:.0f} images/s, "
            f"{result['data_wait']:.0%} of the time waiting for data",
        ),
        (
            "samples",
            f"{samples['planned']} planned = {samples['served']} served - {samples['repeated']} "
            f"repeated + {samples['quarantined']} quarantined + {samples['dropped']} dropped",
        ),
    ]
    if result["panel"]:
        figures = [
            f"{name} {result['panel'][name]:.3g}" for name in _PANEL if name in result["panel"]
        ]
        rows.append(("label-free", "  ".join(figures)))
    rows.append(("evaluation", f"{result['evaluation_share']:.1%} of the training's time"))
    rows += rows_of_scores(result, floors={"raw pixels": "_raw", "untrained": "_untrained"})
    model = result["model"]
    rows.append(("model", model["uri"] if model else "not registered: tracking.register is null"))
    rows.append(("encoder", f"{result['folder']}/encoder  sha256 {result['encoder_sha256'][:12]}…"))
    if result.get("report"):
        rows.append(("report", result["report"]))
    rows += rows_of_bad_pairs(result.get("bad_pairs"))
    rows.append(("MLflow page", f"mlflow ui --backend-store-uri {result['tracking_uri']}"))
    return rows
