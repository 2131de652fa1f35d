"""`shard`: images in, globally shuffled shards out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.output import JsonOption, only_results_on_stdout, print_result, reporting_errors

if TYPE_CHECKING:
    from pipeline.data.sources.manifest import Manifest
    from pipeline.data.sources.sharding import ShardingResult


class Format(StrEnum):
    """Formats of shards."""

    tar = "tar"
    parquet = "parquet"


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(shard)


def shard(
    src: Annotated[
        str,
        typer.Argument(
            help="A folder of images, an .npz, a Parquet file or folder of them; with --index a "
            "folder or URI of shards."
        ),
    ],
    dest: Annotated[
        str,
        typer.Argument(
            help="Folder to write; new or empty, with --append one that holds shards, with --index "
            "where the manifest goes (SRC itself will do)."
        ),
    ],
    format: Annotated[
        Format, typer.Option(help="tar is WebDataset; both are read alike.")
    ] = Format.tar,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Where labels are. Image folder: `folder` (names of sub-folders) or a csv with "
            "the columns file,label. .npz: a key. Parquet: a column. --index of tars: `cls` or "
            "`json:KEY`. `none`: no labels. Default: what is there. Training never sees them, "
            "probes do."
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="Key (.npz), column (Parquet; with --index one of paths will do) or member "
            "extension (--index of tars) of the images."
        ),
    ] = None,
    test_fraction: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Put this share in DEST/test, the rest in DEST/train."),
    ] = 0.0,
    samples_per_shard: Annotated[int, typer.Option(min=1, help="Samples in a shard.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffle.")] = 0,
    append: Annotated[
        bool, typer.Option("--append", help="Add to the shards in DEST; their ids stay.")
    ] = False,
    index: Annotated[
        bool,
        typer.Option(
            "--index",
            help="SRC is shards that somebody else made: read them once, in parallel, and write a "
            "manifest and indexes, no copies. Again: goes on, and adds shards that have come.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Turn images into shards that training can stream.

    Images are shuffled globally, checked by decoding each once, and copied byte for byte. What
    cannot be decoded is left out and counted.

    Example: python -m jobs shard photos/ shards/ --test-fraction 0.2
    """
    import pipeline

    with reporting_errors(json):
        _refuse_together(index=index, append=append, test_fraction=test_fraction)
        if index:
            with only_results_on_stdout():
                summary = _index(src, dest, images=images, labels=labels)
        else:
            with _bar("sharding") as progress:
                result = pipeline.shard(
                    src,
                    dest,
                    images=images,
                    labels=labels,
                    kind=format.value,
                    test_fraction=test_fraction,
                    samples_per_shard=samples_per_shard,
                    seed=seed,
                    append=append,
                    progress=progress,
                )
            summary = _summary(result, Path(dest))
        verb = "Indexed" if index else "Sharded"
        print_result(summary, _rows(summary), title=f"{verb} {src}", as_json=json)


def _refuse_together(*, index: bool, append: bool, test_fraction: float) -> None:
    from pipeline.errors import Problem, UserError

    if index and append:
        raise UserError(Problem("--append", "is for images; --index adds new shards by itself"))
    if test_fraction and (index or append):
        other = "--index" if index else "--append"
        raise UserError(Problem("--test-fraction", f"cannot be had with {other}"))


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int], Callable[[int], None]]]:
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def begin(total: int) -> Callable[[int], None]:
            task = bar.add_task("", total=total)
            return lambda count: bar.advance(task, count)

        yield begin


def _index(src: str, dest: str, *, images: str | None, labels: str | None) -> dict[str, Any]:
    import pipeline

    with _bar("indexing") as progress:
        result = pipeline.index(src, dest, images=images, labels=labels, progress=progress)
    return {
        "sets": {dest: _facts(result.manifest)},
        "read": result.read,
        "left_out": dict(result.left_out),
        "examples": result.examples,
    }


def _summary(result: ShardingResult, dest: Path) -> dict[str, Any]:
    sets = {str(dest / name): _facts(manifest) for name, manifest in result.manifests.items()}
    return {"sets": sets, "left_out": dict(result.left_out), "examples": result.examples}


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "samples": manifest.samples,
        "shards": len(manifest.shards),
        "classes": len(manifest.classes),
        "labelled": manifest.labelled,
        "fingerprint": manifest.fingerprint,
    }


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
