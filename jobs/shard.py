"""`shard`: images in, globally shuffled shards out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from jobs.output import JsonOption, only_results_on_stdout, print_result, reporting_errors

if TYPE_CHECKING:
    from pipeline.data.sources.conversion.outcome import ShardingResult
    from pipeline.data.sources.conversion.sharding import Progress as Told
    from pipeline.data.sources.manifest import Manifest


class Format(StrEnum):
    """Formats of shards."""

    tar = "tar"
    parquet = "parquet"


class On(StrEnum):
    """Where images are converted."""

    auto = "auto"
    inline = "inline"
    ray = "ray"


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(shard)


def shard(
    src: Annotated[
        str,
        typer.Argument(
            help="Folder or URI of images, an .npz, Parquet files, tars (.tar, .tar.gz), or a list "
            "(csv, JSON lines, Parquet) with a column of paths or URIs; with --index shards."
        ),
    ],
    dest: Annotated[
        str,
        typer.Argument(
            help="Folder or URI to fill; new or empty, with --append one that holds shards, with "
            "--index where the manifest goes (SRC itself will do)."
        ),
    ],
    format: Annotated[
        Format, typer.Option(help="tar is WebDataset; both are read alike.")
    ] = Format.tar,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Where labels are. Image folder: `folder` (names of sub-folders) or a csv with "
            "the columns file,label. .npz: a key. Parquet and lists: a column. Tars: `folder` or "
            "`cls`; with --index `cls` or `json:KEY`. `none`: no labels. Default: what is there. "
            "Some samples may have none. Training never sees them, probes do."
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="Key (.npz), column (Parquet, lists) or member extension (--index of tars) of the "
            "images. Several, as left,right: a sample has several images, to train on as pairs."
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Column to keep beside the samples; may be given again."),
    ] = None,
    test_fraction: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Put this share in DEST/test, the rest in DEST/train."),
    ] = 0.0,
    split_by: Annotated[
        str | None,
        typer.Option(
            help="Keep samples of a group (patient, video …) on one side of --test-fraction: a "
            "column, a level of folders (1: the first), or a regular expression on file names."
        ),
    ] = None,
    max_side: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Reduce larger images once, so that the longer side has so many pixels.",
        ),
    ] = None,
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="Of the JPEGs that --max-side makes.")
    ] = 90,
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
    on: Annotated[
        On,
        typer.Option(
            help="inline: threads here. ray: the cluster of RAY_ADDRESS, or all cores. auto: ray "
            "on a cluster, or if there is much to do."
        ),
    ] = On.auto,
    json: JsonOption = False,
) -> None:
    """Turn images into shards that training can stream.

    Images are shuffled globally, checked by decoding each once, and copied byte for byte unless
    --max-side reduces them. What cannot be decoded is left out and counted. Stopped at any moment,
    the same command goes on.

    Example: python -m jobs shard photos/ shards/ --test-fraction 0.2
    """
    import pipeline

    with reporting_errors(json):
        if index:
            _refuse_with_index(
                append=append,
                test_fraction=test_fraction,
                keep=keep,
                split_by=split_by,
                max_side=max_side,
            )
        with only_results_on_stdout():
            if index:
                summary = _index(src, dest, images=images, labels=labels)
            else:
                with _bar() as progress:
                    result = pipeline.shard(
                        src,
                        dest,
                        images=images,
                        labels=labels,
                        keep=keep or (),
                        kind=format.value,
                        test_fraction=test_fraction,
                        split_by=split_by,
                        max_side=max_side,
                        quality=quality,
                        samples_per_shard=samples_per_shard,
                        seed=seed,
                        append=append,
                        on=on.value,
                        progress=progress,
                    )
                summary = _summary(result, dest)
        verb = "Indexed" if index else "Sharded"
        print_result(summary, _rows(summary), title=f"{verb} {src}", as_json=json)


def _refuse_with_index(**given: object) -> None:
    """What is for images that are converted."""
    from pipeline.errors import Problem, UserError

    found = [
        Problem(f"--{name.replace('_', '-')}", "cannot be had with --index, which copies nothing")
        for name, value in given.items()
        if value
    ]
    if found:
        raise UserError(found)


class _Rate(ProgressColumn):
    """Samples and bytes a second since the task began."""

    def render(self, task: Task) -> Text:
        seconds = task.elapsed or 0
        if not seconds or not task.completed:
            return Text("")
        rate = f"{task.completed / seconds:,.0f}/s"
        size = task.fields["bytes"] / seconds / 1e6
        return Text(f"{rate}, {size:,.1f} MB/s" if size else rate)


@contextmanager
def _bar() -> Iterator[Told]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def begin(doing: str, total: int | None) -> Callable[[int, int], None]:
            task = bar.add_task(doing, total=total, bytes=0)

            def advance(samples: int, size: int) -> None:
                bar.update(task, advance=samples, bytes=bar.tasks[task].fields["bytes"] + size)

            return advance

        yield begin


def _index(src: str, dest: str, *, images: str | None, labels: str | None) -> dict[str, Any]:
    import pipeline

    with _bar() as progress:
        result = pipeline.index(src, dest, images=images, labels=labels, progress=progress)
    return {
        "sets": {dest: _facts(result.manifest, ())},
        "read": result.read,
        "left_out": dict(result.left_out),
        "examples": result.examples,
    }


def _summary(result: ShardingResult, dest: str) -> dict[str, Any]:
    sets = {
        f"{dest.rstrip('/')}/{name}".rstrip("/"): _facts(manifest, result.unlabelled.get(name, ()))
        for name, manifest in result.manifests.items()
    }
    return {
        "sets": sets,
        "written": result.written,
        "left_out": dict(result.left_out),
        "examples": result.examples,
        "notes": result.notes,
    }


def _facts(manifest: Manifest, unlabelled: list[str] | tuple[str, ...]) -> dict[str, Any]:
    return {
        "samples": manifest.samples,
        "shards": len(manifest.shards),
        "classes": len(manifest.classes),
        "labelled": manifest.labelled,
        "unlabelled": manifest.unlabelled,
        "unlabelled_examples": list(unlabelled),
        "fingerprint": manifest.fingerprint,
    }


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for folder, facts in summary["sets"].items():
        labels = f"{facts['classes']} classes" if facts["labelled"] else "no labels"
        rows.append((folder, f"{facts['samples']} samples, {facts['shards']} shards, {labels}"))
        if facts["unlabelled"]:
            examples = ", ".join(facts["unlabelled_examples"])
            some = f": {examples}" if examples else ""
            rows.append(
                ("  no label", f"{facts['unlabelled']:,} of {facts['samples']:,} have none{some}")
            )
    left_out = summary["left_out"]
    rows.append(("left out", str(sum(left_out.values()))))
    for reason, count in left_out.items():
        rows.append((f"  {reason}", f"{count}, e.g. {summary['examples'][reason]}"))
    rows += (("note", note) for note in summary.get("notes", ()))
    return rows
