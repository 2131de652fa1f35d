"""`embed`: a whole corpus through an encoder, to Parquet."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.evaluate import TrackingOption, UriArgument
from jobs.output import JsonOption, only_results_on_stdout, print_result, reporting_errors
from pipeline.evaluation.config import FeatureKind

if TYPE_CHECKING:
    from pipeline.embedding.driver import EmbeddingResult


class Dtype(StrEnum):
    """Types of the vectors' values."""

    float16 = "float16"
    float32 = "float32"


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(embed)


def embed(
    uri: UriArgument,
    shards: Annotated[str, typer.Argument(help="Shards of `jobs shard`; a folder or a URI.")],
    dest: Annotated[
        str, typer.Argument(help="Folder or URI to write; new, or where the same was begun.")
    ],
    features: Annotated[
        FeatureKind | None,
        typer.Option(
            help="What stands for an image.  [default: what the package gives]",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Of the vectors' values.")] = Dtype.float16,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Encoders at work.  [default: one for each GPU of Ray, else for each CPU]",
            show_default=False,
        ),
    ] = None,
    max_bad_fraction: Annotated[
        float, typer.Option(min=0, max=1, help="Share of undecodable samples that stops it.")
    ] = 0.01,
    map: Annotated[
        bool,
        typer.Option("--map", help="Also places on a plane and neighbours, for embedding-atlas."),
    ] = False,
    tracking_uri: TrackingOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Ray's own log.")] = False,
    json: JsonOption = False,
) -> None:
    """Embed every image of some shards with Ray Data, and write the vectors as Parquet.

    The same command again goes on where it was stopped. Samples that cannot be decoded are counted
    and listed in DEST/ledger.parquet.

    Example: python -m jobs embed models:/encoder@candidate shards/train embeddings/
    """
    import pipeline

    with reporting_errors(json):
        with only_results_on_stdout():
            found = pipeline.embed(
                uri,
                shards,
                dest,
                features=features,
                dtype=dtype.value,
                workers=workers,
                max_bad_fraction=max_bad_fraction,
                map=map,
                tracking_uri=tracking_uri,
                verbose=verbose,
            )
        result = {
            "folder": found.folder,
            "encoder": found.encoder,
            "samples": found.samples,
            "bad": found.bad,
            "files": found.files,
            "width": found.width,
            "images_per_second": found.images_per_second,
            "already_finished": found.already_finished,
            "map": found.map,
            "atlas": found.atlas,
        }
        title = "Finished before" if found.already_finished else "Embedded"
        print_result(result, _rows(found), title=f"{title}: {found.folder}", as_json=json)


def _rows(found: EmbeddingResult) -> list[tuple[str, str]]:
    rows = [
        ("encoder", found.encoder),
        ("vectors", f"{found.samples} of {found.width} values, in {found.files} files"),
        ("bad", f"{found.bad}, in ledger.parquet" if found.bad else "0"),
    ]
    if found.images_per_second is not None:
        rows.append(("images/s", f"{found.images_per_second:.0f}"))
    if found.atlas is not None:
        rows.append(("look at it", found.atlas))
    return rows
