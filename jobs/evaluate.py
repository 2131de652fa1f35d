"""`evaluate`: probe any encoder on labelled shards."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.output import JsonOption, print_result, reporting_errors, rows_of_scores
from pipeline.encoders.configs.features import Pool
from pipeline.evaluation.config import FeatureKind, Probe

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
    train: Annotated[
        str, typer.Option(help="Labelled shards that probes are fitted on; a folder or a URI.")
    ],
    test: Annotated[str, typer.Option(help="Labelled shards that they are scored on.")],
    probes: Annotated[list[Probe], typer.Option(help="A probe; may be given again.")] = list(Probe),  # noqa: B006
    features: Annotated[
        list[FeatureKind] | None,
        typer.Option(
            help="What the probes look at; may be given again.  [default: what the package gives]",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(help="Of decoder_hidden: 0 is the first, -1 the last.", show_default=False),
    ] = None,
    pool: Annotated[
        Pool | None,
        typer.Option(help="Of decoder_hidden: over the layer's places.", show_default=False),
    ] = None,
    max_samples: Annotated[int, typer.Option(min=10, help="Samples used of each.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="Of validation parts and of intervals.")] = 0,
    tracking_uri: TrackingOption = None,
    json: JsonOption = False,
) -> None:
    """Score an encoder by probes, beside raw pixels, and measure its features without labels.

    Example: python -m jobs evaluate models:/encoder@candidate --train DIR --test DIR
    """
    from pipeline.evaluation.probes.score import scores_as_json
    from pipeline.registry import evaluate as evaluation

    with reporting_errors(json):
        found = evaluation.evaluate(
            uri,
            train=train,
            test=test,
            probes=list(dict.fromkeys(probes)),
            features=list(dict.fromkeys(features)) if features else None,
            layer=layer,
            pool=pool,
            max_samples=max_samples,
            seed=seed,
            tracking_uri=tracking_uri,
        )
        result = {
            "encoder": uri,
            "features": found.features,
            **scores_as_json(found.scores),
            "panel": found.panel,
        }
        rows = rows_of_scores(result, floors={"raw pixels": "_raw"})
        rows += [(name, f"{value:.3g}") for name, value in found.panel.items()]
        print_result(result, rows, title=f"Probes of {uri}, {found.features[0]}", as_json=json)
