"""`evaluate`: probe any encoder on labelled shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from jobs.output import JsonOption, print_result, reporting_errors, rows_of_scores
from pipeline.encoders.configs.features import Pool
from pipeline.evaluation.config import FeatureKind, Probe, TargetKind, Task

if TYPE_CHECKING:
    from pipeline.evaluation.tasks.per_class import ClassScore

Choice = TypeVar("Choice")

_WORST_CLASSES = 5

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
        str, typer.Option(help="Shards that probes are fitted on; a folder or a URI.")
    ],
    test: Annotated[str, typer.Option(help="Shards that they are scored on.")],
    tasks: Annotated[
        list[Task] | None,
        typer.Option(
            help="What to find out; may be given again.  [default: all that the targets allow]",
            show_default=False,
        ),
    ] = None,
    probes: Annotated[
        list[Probe] | None,
        typer.Option(help="A probe; may be given again.  [default: all]", show_default=False),
    ] = None,
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
    targets: Annotated[
        str | None,
        typer.Option(
            help="In place of labels: a .csv or .parquet by key or sample_id.", show_default=False
        ),
    ] = None,
    test_targets: Annotated[
        str | None,
        typer.Option(help="Another for the test set.", show_default=False),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Its column.  [default: the only other one]", show_default=False),
    ] = None,
    target_kind: Annotated[
        TargetKind | None,
        typer.Option(help="What it holds.  [default: as it looks]", show_default=False),
    ] = None,
    confusion: Annotated[
        str | None,
        typer.Option(help="A .png to be drawn of what classes are taken for.", show_default=False),
    ] = None,
    max_samples: Annotated[int, typer.Option(min=10, help="Samples used of each.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    tracking_uri: TrackingOption = None,
    json: JsonOption = False,
) -> None:
    """Score an encoder by probes and other tasks, beside raw pixels, and measure it without labels.

    Example: python -m jobs evaluate models:/encoder@candidate --train DIR --test DIR
    """
    from pipeline.evaluation.probes.score import scores_as_json
    from pipeline.evaluation.tasks.estimate import estimates_as_json
    from pipeline.evaluation.tasks.per_class import class_scores_as_json
    from pipeline.registry import evaluate as evaluation

    with reporting_errors(json):
        found = evaluation.evaluate(
            uri,
            train=train,
            test=test,
            tasks=_each_once(tasks),
            probes=_each_once(probes),
            features=_each_once(features),
            layer=layer,
            pool=pool,
            targets=targets,
            test_targets=test_targets,
            target=target,
            target_kind=target_kind,
            confusion=confusion,
            max_samples=max_samples,
            seed=seed,
            tracking_uri=tracking_uri,
        )
        result = {
            "encoder": uri,
            "features": found.features,
            "target": found.target,
            **scores_as_json(found.scores),
            **estimates_as_json(found.tasks),
            "per_class": class_scores_as_json(found.per_class),
            "panel": found.panel,
            "confusion": confusion,
            "notes": found.notes,
        }
        rows = [("target", _described(found.target))]
        rows += rows_of_scores(result, floors={"raw pixels": "_raw"})
        figures = {"probes": result["tasks"], "intervals": result["task_intervals"]}
        rows += rows_of_scores(figures, floors={"raw pixels": "_raw"})
        rows += _worst_classes(found.per_class)
        rows += [(name, f"{value:.3g}") for name, value in found.panel.items()]
        rows += [("confusion", confusion)] if confusion else []
        rows += [("note", note) for note in found.notes]
        print_result(result, rows, title=f"{uri}, {found.features[0]}", as_json=json)


def _each_once(given: Sequence[Choice] | None) -> list[Choice] | None:
    return list(dict.fromkeys(given)) if given else None


def _described(target: Mapping[str, Any]) -> str:
    told = {
        "classes": f"{target['names']} classes",
        "multilabel": f"{target['names']} labels, several a sample",
        "regression": "numbers",
    }[target["kind"]]
    column = f" of {target['column']}" if target["column"] else ""
    return f"{told}{column}, {target['train']} and {target['test']} samples"


def _worst_classes(per_class: Mapping[str, ClassScore]) -> list[tuple[str, str]]:
    worst = sorted(per_class.items(), key=lambda item: item[1].accuracy)[:_WORST_CLASSES]
    return [
        (
            f"class {name}",
            f"{score.accuracy:.3f} [{score.low:.3f}, {score.high:.3f}]  (raw pixels "
            f"{score.raw:.3f})"
            + (f", {score.taken_share:.0%} taken for {score.taken_for}" if score.taken_for else ""),
        )
        for name, score in worst
    ]
