"""`shard`: images in, globally shuffled shards out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.output import JsonOption, print_result, reporting_errors

if TYPE_CHECKING:
    from pipeline.data.sharding import ShardingResult


class Format(StrEnum):
    """Formats of shards."""

    tar = "tar"
    parquet = "parquet"


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(shard)


def shard(
    src: Annotated[
        Path, typer.Argument(help="A folder of images, an .npz, a Parquet file or folder of them.")
    ],
    dest: Annotated[Path, typer.Argument(help="Folder to write; new or empty.")],
    format: Annotated[
        Format, typer.Option(help="tar is WebDataset; both are read alike.")
    ] = Format.tar,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Where labels are. Image folder: `folder` (names of sub-folders) or a csv with "
            "the columns file,label. .npz: a key. Parquet: a column. `none`: no labels. "
            "Default: what is there. Training never sees them, probes do."
        ),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Key (.npz) or column (Parquet) of the images.")
    ] = None,
    test_fraction: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Put this share in DEST/test, the rest in DEST/train."),
    ] = 0.0,
    samples_per_shard: Annotated[int, typer.Option(min=1, help="Samples in a shard.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffle.")] = 0,
    json: JsonOption = False,
) -> None:
    """Turn images into shards that training can stream.

    Images are shuffled globally, checked by decoding each once, and copied byte for byte. What
    cannot be decoded is left out and counted.

    Example: python -m jobs shard photos/ shards/ --test-fraction 0.2
    """
    from pipeline.data.sharding import write_shards
    from pipeline.data.sources import open_source

    with reporting_errors(json):
        source = open_source(src, labels=labels, images=images)
        columns = (TextColumn("sharding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=len(source))
            result = write_shards(
                source,
                dest,
                kind=format.value,
                samples_per_shard=samples_per_shard,
                test_fraction=test_fraction,
                seed=seed,
                progress=lambda count: bar.advance(task, count),
            )
        summary = _summary(result, dest)
        print_result(summary, _rows(summary), title=f"Sharded {src}", as_json=json)


def _summary(result: ShardingResult, dest: Path) -> dict[str, Any]:
    sets = {
        str(dest / name): {
            "samples": manifest.samples,
            "shards": len(manifest.shards),
            "classes": len(manifest.classes),
            "labelled": manifest.labelled,
            "fingerprint": manifest.fingerprint,
        }
        for name, manifest in result.manifests.items()
    }
    return {"sets": sets, "left_out": dict(result.left_out), "examples": result.examples}


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for folder, facts in summary["sets"].items():
        labels = f"{facts['classes']} classes" if facts["labelled"] else "no labels"
        rows.append((folder, f"{facts['samples']} samples, {facts['shards']} shards, {labels}"))
    left_out = summary["left_out"]
    rows.append(("left out", str(sum(left_out.values()))))
    for reason, count in left_out.items():
        rows.append((f"  {reason}", f"{count}, e.g. {summary['examples'][reason]}"))
    return rows
