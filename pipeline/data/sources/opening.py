"""What can be turned into shards: an image folder, an .npz, or a Parquet table."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.sources.folder import FolderSource
from pipeline.data.sources.npz import NpzSource
from pipeline.data.sources.parquet import ParquetSource
from pipeline.data.sources.source import Source
from pipeline.errors import Problem, UserError


def open_source(src: Path, *, labels: str | None, images: str | None) -> Source:
    """Open what the user points at.

    Args:
        src: a folder of images, an `.npz`, or a Parquet file or a folder of them.
        labels: for a folder `folder` (names of the sub-folders) or a csv with the columns file and
            label; for an `.npz` a key; for Parquet a column. None means: what is there.
            `none` means: no labels.
        images: key or column that holds the images. None means: what is there.

    Raises:
        UserError: there is nothing to read.
    """
    if not src.exists():
        raise UserError(Problem(str(src), "does not exist"))
    if src.is_file() and src.suffix == ".npz":
        return NpzSource(src, labels=labels, images=images)
    tables = [src] if src.is_file() and src.suffix == ".parquet" else sorted(src.glob("*.parquet"))
    if tables:
        return ParquetSource(tables, labels=labels, images=images)
    if src.is_dir():
        return FolderSource(src, labels=labels)
    raise UserError(Problem(str(src), "is not a folder of images, an .npz or a Parquet table"))
