"""What `jobs shard` does: images in, or shards that somebody else made; shards and manifest out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.sources.conversion.opening import open_source
from pipeline.data.sources.conversion.outcome import ShardingResult
from pipeline.data.sources.conversion.plan import Cut
from pipeline.data.sources.conversion.running import On
from pipeline.data.sources.conversion.samples import Reduction
from pipeline.data.sources.conversion.sharding import Conversion, Progress, convert, unseen
from pipeline.data.sources.conversion.source import Fields
from pipeline.data.sources.manifest import Format
from pipeline.data.sources.parts import part_names
from pipeline.errors import InterruptedRunError, Problem, UserError

if TYPE_CHECKING:
    from pipeline.data.sources.indexing import IndexingResult


def shard(
    source: str | Path,
    destination: str | Path,
    *,
    kind: Format = "tar",
    labels: str | None = None,
    images: str | None = None,
    keep: Sequence[str] = (),
    test_fraction: float = 0.0,
    split_by: str | None = None,
    max_side: int | None = None,
    quality: int = 90,
    samples_per_shard: int = 1000,
    seed: int = 0,
    append: bool = False,
    on: On = "auto",
    progress: Progress = unseen,
) -> ShardingResult:
    """Turn images into globally shuffled shards that training can stream.

    Stopped at any moment, the same call goes on, and ends with the same bytes.

    Args:
        source: path or URI of a folder of images, an `.npz`, a Parquet file, a tar (`.tar`,
            `.tar.gz` …), a folder of Parquet files or tars, or a list of images (csv, JSON lines,
            or Parquet) with a column of paths or URIs.
        destination: path or URI; new or empty, with `append` one that holds shards.
        kind: `tar` (WebDataset) or `parquet`.
        labels: for a folder `folder` (names of sub-folders) or a csv with columns file and label;
            for an `.npz` a key; for Parquet and lists a column; for tars `folder` or `cls`; None:
            what is there; `none`: none. A sample without one is a sample all the same.
        images: key or column of the images; None: what is there. Several names with commas
            between, such as `left,right`: of the images of one sample.
        keep: columns to keep in the indexes.
        test_fraction: share put in `destination/test`, the others in `destination/train`; 0: one
            set, in the destination itself.
        split_by: what keeps samples on one side of `test_fraction`: a column, a level of folders
            (1: the first), or a regular expression on the key.
        max_side: reduce images whose longer side has more pixels; None: copy all byte for byte.
        quality: of the JPEGs that are written then, 1 to 100.
        samples_per_shard: samples in each shard but the last, less those that cannot be read.
        seed: of the shuffle.
        append: add further shards to those in the destination; ids that were given stay.
        on: `inline`, in threads of this process; `ray`, on the cluster of RAY_ADDRESS or else a
            Ray of this machine; `auto`: on Ray if a cluster is named or there is much to do.
        progress: see `Progress`.

    Returns:
        The manifests, and how many samples were left out for which reason.

    Raises:
        UserError: there is nothing to read, or the destination cannot take it.
        InterruptedRunError: a store or a disk failed; the same call goes on.
    """
    _refuse_together(append=append, test_fraction=test_fraction, split_by=split_by)
    names = part_names(images) or ((images,) if images else ())
    fields = Fields(images=names, labels=labels, keep=tuple(keep), split_by=split_by)
    conversion = Conversion(
        kind=kind,
        cut=Cut(seed=seed, samples_per_shard=samples_per_shard, test_fraction=test_fraction),
        reduction=None if max_side is None else Reduction(max_side=max_side, quality=quality),
        append=append,
    )
    opened = open_source(source, fields)
    try:
        return convert(opened, str(destination), conversion, on=on, progress=progress)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise InterruptedRunError(f"{reason}; the same command goes on from here") from error


def _refuse_together(*, append: bool, test_fraction: float, split_by: str | None) -> None:
    found = []
    if append and test_fraction:
        found.append(Problem("--test-fraction", "cannot be had with --append"))
    if split_by is not None and not test_fraction:
        found.append(Problem("--split-by", "is of no use without --test-fraction"))
    if found:
        raise UserError(found)


def index(
    source: str | Path,
    destination: str | Path,
    *,
    labels: str | None = None,
    images: str | None = None,
    progress: Progress = unseen,
) -> IndexingResult:
    """Make a manifest of shards that somebody else made, in parallel on Ray, without a copy.

    Given again it goes on where it was stopped, and appends shards that have come since.

    Args:
        source: folder or URI of tars or Parquet files.
        destination: folder or URI of the manifest and the indexes; may be the source.
        labels: of tars `cls` or `json:KEY`, of Parquet a column; None: what is there.
        images: extension of a tar's members, or a column of images or of paths; None: what is
            there.
        progress: see `Progress`; counts shards.

    Raises:
        UserError: a shard changed since it was indexed, holds no sample, or fewer than
            `sizes.json` says.
    """
    from pipeline.data.ray_session import ray_session  # Ray, which plain sharding does without
    from pipeline.data.sources.foreign_shards import Fields as ForeignFields
    from pipeline.data.sources.indexing import find_shards, index_shards

    advance = progress("indexing", len(find_shards(str(source))))
    with ray_session(cpus=1, verbose=False):
        return index_shards(
            str(source),
            str(destination),
            fields=ForeignFields(images=images, labels=labels),
            progress=lambda shards: advance(shards, 0),
        )
