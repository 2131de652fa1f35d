"""`evaluate`: probe any encoder on labelled shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.output import JsonOption, print_result, reporting_errors

UriArgument = Annotated[
    str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION or a folder.")
]
TrackingOption = Annotated[
    str | None,
    typer.Option(help="MLflow; default: MLFLOW_TRACKING_URI, else runs/mlflow.db here."),
]


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(evaluate)


def evaluate(
    uri: UriArgument,
    train: Annotated[Path, typer.Option(help="Labelled shards that probes are fitted on.")],
    test: Annotated[Path, typer.Option(help="Labelled shards that they are scored on.")],
    max_samples: Annotated[int, typer.Option(min=10, help="Samples used of each.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the linear probe's validation part.")] = 0,
    tracking_uri: TrackingOption = None,
    json: JsonOption = False,
) -> None:
    """Score an encoder by a kNN and a linear probe, beside raw pixels.

    Example: python -m jobs evaluate models:/encoder@candidate --train DIR --test DIR
    """
    from pipeline.registry.evaluate import evaluate_encoder

    with reporting_errors(json):
        scores = evaluate_encoder(
            uri,
            train=str(train),
            test=str(test),
            max_samples=max_samples,
            seed=seed,
            tracking_uri=tracking_uri,
        )
        rows = [
            (probe, f"{scores[probe]:.3f}  (raw pixels {scores[f'{probe}_raw']:.3f})")
            for probe in ("knn", "linear")
        ]
        result = {"encoder": uri, "probes": scores}
        print_result(result, rows, title=f"Probes of {uri}", as_json=json)
