"""What `jobs shard` does: images in, or shards that somebody else made; shards and manifest out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.sources.manifest import Format
from pipeline.data.sources.opening import open_source
from pipeline.data.sources.sharding import ShardingResult, append_shards, write_shards

if TYPE_CHECKING:
    from pipeline.data.sources.indexing import IndexingResult


def _unseen(total: int) -> Callable[[int], None]:
    return lambda count: None


Progress = Callable[[int], Callable[[int], None]]
"""Is given how many there are, and gives what is called with how many more are done."""


def shard(
    source: str | Path,
    destination: str | Path,
    *,
    kind: Format = "tar",
    labels: str | None = None,
    images: str | None = None,
    test_fraction: float = 0.0,
    samples_per_shard: int = 1000,
    seed: int = 0,
    append: bool = False,
    progress: Progress = _unseen,
) -> ShardingResult:
    """Turn images into globally shuffled shards that training can stream.

    Args:
        source: a folder of images, an `.npz`, or a Parquet file or a folder of them.
        destination: a folder that is new or empty; with `append` one that holds shards.
        kind: `tar` (WebDataset) or `parquet`.
        labels: for a folder `folder` (names of sub-folders) or a csv with the columns file and
            label, for an `.npz` a key, for Parquet a column; None: what is there; `none`: none.
        images: key or column that holds the images; None: what is there.
        test_fraction: share put in `destination/test`, the others in `destination/train`; 0: one
            set, in the destination itself.
        samples_per_shard: samples in each shard but the last.
        seed: of the shuffle.
        append: add further shards to those in the destination; ids that were given stay.
        progress: see `Progress`.

    Returns:
        The manifests, and how many samples were left out for which reason.

    Raises:
        UserError: there is nothing to read, or the destination cannot take it.
    """
    opened = open_source(Path(source), labels=labels, images=images)
    advance = progress(len(opened))
    if append:
        return append_shards(
            opened,
            Path(destination),
            kind=kind,
            samples_per_shard=samples_per_shard,
            seed=seed,
            progress=advance,
        )
    return write_shards(
        opened,
        Path(destination),
        kind=kind,
        samples_per_shard=samples_per_shard,
        test_fraction=test_fraction,
        seed=seed,
        progress=advance,
    )


def index(
    source: str | Path,
    destination: str | Path,
    *,
    labels: str | None = None,
    images: str | None = None,
    progress: Progress = _unseen,
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
    from pipeline.data.sources.foreign_shards import Fields
    from pipeline.data.sources.indexing import find_shards, index_shards

    advance = progress(len(find_shards(str(source))))
    with ray_session(cpus=1, verbose=False):
        return index_shards(
            str(source),
            str(destination),
            fields=Fields(images=images, labels=labels),
            progress=advance,
        )
