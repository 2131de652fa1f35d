"""Tells what the user points at: a folder, a list, tables, archives or an `.npz`."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from pyarrow import fs

from pipeline.data import storage
from pipeline.data.sources.conversion import archives, lines
from pipeline.data.sources.conversion.archives import ArchiveSource
from pipeline.data.sources.conversion.arrays import NpzSource
from pipeline.data.sources.conversion.folder import FolderSource
from pipeline.data.sources.conversion.image_files import image_files
from pipeline.data.sources.conversion.paths import ListOfPaths
from pipeline.data.sources.conversion.source import Fields, ListedSource, StreamedSource
from pipeline.data.sources.conversion.tables import ParquetSource, lists_paths
from pipeline.errors import Problem, UserError


def open_source(src: str | Path, fields: Fields | None = None) -> ListedSource | StreamedSource:
    """Open what the user points at.

    Args:
        src: path or URI of a folder of images, an `.npz`, a Parquet file, a tar, a list (csv, JSON
            lines, Parquet with a column of paths), or a folder of Parquet files or tars.
        fields: what of it is what.

    Raises:
        UserError: there is nothing to read, or it has no such fields.
    """
    location = storage.absolute(str(src))
    fields = fields or Fields()
    try:
        return _opened(location, fields)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise UserError(Problem(str(src), f"cannot be read: {reason}")) from error


def _opened(location: str, fields: Fields) -> ListedSource | StreamedSource:
    store, path = storage.resolve(location)
    kind = store.get_file_info(path).type
    if kind == fs.FileType.NotFound:
        raise UserError(Problem(location, "does not exist"))
    if kind == fs.FileType.File:
        return _file(location, fields)
    names = _names(location)
    tables = sorted(name for name in names if name.endswith(".parquet"))
    packed = sorted(name for name in names if name.lower().endswith(archives.ENDINGS))
    found = tables or packed
    if not found or _more_images(location, than=len(found)):
        return FolderSource(location, fields)
    files = [storage.join(location, name) for name in found]
    return ParquetSource(files, fields) if tables else ArchiveSource(files, fields)


def _names(folder: str) -> list[str]:
    """What lies in a folder, not below."""
    if not storage.is_remote(folder):
        return [path.name for path in Path(folder).iterdir()]
    store, path = storage.resolve(folder)
    return [storage.file_name(info.path) for info in store.get_file_info(fs.FileSelector(path))]


def _file(location: str, fields: Fields) -> ListedSource | StreamedSource:
    name = storage.file_name(location).lower()
    if name.endswith(".npz") and not storage.is_remote(location):
        return NpzSource(location, fields)
    if name.endswith(archives.ENDINGS):
        return ArchiveSource([location], fields)
    if name.endswith(".parquet") and not lists_paths(location, fields.images):
        return ParquetSource([location], fields)
    if name.endswith((".parquet", *lines.DELIMITED, *lines.JSON_LINES)):
        return ListOfPaths(location, fields)
    raise UserError(
        Problem(
            location,
            "is not a folder of images, an .npz on a disk, a Parquet file, a tar, or a list of "
            f"paths ({', '.join((*lines.DELIMITED, *lines.JSON_LINES))})",
        )
    )


def _more_images(location: str, *, than: int) -> bool:
    """Whether a folder has more images than tables or archives, which then lie there by chance."""
    return len(list(islice(image_files(location), than + 1))) > than
