"""What lies where a user points, at a glance: counted, and some hundred images' headers read."""

from __future__ import annotations

import io
import os
import random
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.data import storage
from pipeline.data.decode import FORMATS
from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.shard_reader import ShardReader
from pipeline.data.sources.conversion.image_files import EXTENSIONS, image_files
from pipeline.data.sources.manifest import MANIFEST_FILE, Manifest, load_manifest
from pipeline.data.sources.npz import array_headers, choose_images, choose_labels
from pipeline.data.sources.parquet import image_column, label_column
from pipeline.errors import Problem, UserError

_LOOKED_AT = 200  # images whose headers tell the usual size
_ROWS_AT_A_TIME = 16  # of a Parquet table; its row groups may be large

Kind = Literal["folder", "npz", "parquet", "shards"]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What an image's header says."""

    side: int
    """The shorter one, in pixels."""
    grey: bool


@dataclass(frozen=True, kw_only=True)
class FoundData:
    """A set of images, or shards of them."""

    location: str
    """As the user gave it."""
    kind: Kind
    samples: int
    """Images, readable or not; of shards those to train on."""
    classes: int
    """Distinct labels; 0 without labels."""
    side: int
    """Of the median image the shorter side, in pixels."""
    grey: bool
    """Whether no image that was looked at has colours."""
    train: str | None = None
    """Of shards: the manifest's folder or URI."""
    test: str | None = None
    """Of shards: that of a second set beside it, to be scored on."""
    parts: tuple[str, ...] = ()
    """Of shards: names of a sample's images, if it has several."""


def find_data(location: str) -> FoundData:
    """Say what lies in a place, without reading more than headers of some hundred images.

    Args:
        location: a folder of images, an `.npz`, a Parquet file or a folder of them, or a folder or
            URI of shards that have a manifest, or of two such sets, `train` and `test`.

    Raises:
        UserError: there is nothing of the kind, or it cannot be read.
    """
    try:
        return _found(location)
    except PermissionError as error:
        raise UserError(Problem(location, f"cannot be read: {error}")) from error


def _found(location: str) -> FoundData:
    if storage.is_remote(location):
        return _shards(location, train=location, test=None)
    path = Path(storage.absolute(location))
    if not path.exists():
        raise UserError(Problem(location, "does not exist"))
    for train, test in ((path, path.parent / "test"), (path / "train", path / "test")):
        if (train / MANIFEST_FILE).is_file():
            # A set beside shards that are not called train has nothing to do with them.
            beside = train.name == "train" and (test / MANIFEST_FILE).is_file()
            given = location if train == path else storage.join(location, "train")
            named = storage.file_name(given) == "train"  # not "." or ".."
            other = storage.join(storage.parent(given) or ".", "test") if named else str(test)
            return _shards(location, train=given, test=other if beside else None)
    if path.is_file() and path.suffix == ".npz":
        return _with_a_way_out(lambda: _npz(location, path))
    if path.suffix == ".parquet" or any(path.glob("*.parquet")):
        return _with_a_way_out(lambda: _parquet(location, path))
    if path.is_file():
        raise UserError(
            Problem(location, "is neither a folder, nor an .npz, nor a Parquet file, nor shards")
        )
    return _folder(location, path)


def _with_a_way_out(look: Callable[[], FoundData]) -> FoundData:
    """What options of `shard` decide is asked of `shard`, which `init` has not."""
    try:
        return look()
    except UserError as error:
        raise UserError(
            Problem(p.where, f"{p.message}; tell `python -m jobs shard`, then give init its shards")
            if p.where.startswith("--")
            else p
            for p in error.problems
        ) from error


def _folder(location: str, root: Path) -> FoundData:
    # One pass over a listing that may be of millions: a sample of it is all that is kept.
    draw = random.Random(0)
    kept: list[Path] = []
    classes: set[bytes] = set()
    loose = count = 0
    for count, name in enumerate(image_files(str(root)), start=1):
        first, slash, _ = name.partition(b"/")
        if slash:
            classes.add(first)
        loose += not slash
        if len(kept) < _LOOKED_AT:
            kept.append(root / os.fsdecode(name))
        elif (place := draw.randrange(count)) < _LOOKED_AT:
            kept[place] = root / os.fsdecode(name)
    if not count:
        raise UserError(Problem(location, _nothing_in(root)))
    side, grey = _usual(location, (_look(path) for path in kept))
    return FoundData(
        location=location,
        kind="folder",
        samples=count,
        classes=0 if 2 * loose > count else len(classes),
        side=side,
        grey=grey,
    )


def _nothing_in(root: Path) -> str:
    """What is said of a folder without images, by what is there in their place."""
    arrays, tars = (sorted(path.name for path in root.glob(f"*.{end}")) for end in ("npz", "tar"))
    if arrays:
        return f"holds no image file, but {', '.join(arrays)}; give an .npz by its own path"
    if tars:
        return (
            "holds tars, but no manifest of them; make one with "
            "`python -m jobs shard --index SRC DEST`, and give DEST"
        )
    return (
        "holds neither image files, not even in a sub-folder, nor Parquet, nor shards with a "
        f"manifest; image files end in {', '.join(sorted(EXTENSIONS))}"
    )


def _npz(location: str, path: Path) -> FoundData:
    headers = array_headers(path)
    images = choose_images(path, headers, None)
    count, height, width, *colours = headers[images].shape
    labels = choose_labels(path, headers, None, count)
    classes = 0
    if labels is not None:
        with np.load(path, allow_pickle=False) as arrays:
            classes = len(np.unique(arrays[labels]))
    return FoundData(
        location=location,
        kind="npz",
        samples=count,
        classes=classes,
        side=min(height, width),
        grey=not colours,
    )


def _parquet(location: str, path: Path) -> FoundData:
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    try:
        schema = pq.read_schema(files[0])
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(Problem(str(files[0]), f"is not a Parquet file: {error}")) from error
    column, label = image_column(schema, None, paths=False), label_column(schema, None)
    side, grey = _usual(location, (_look(io.BytesIO(data)) for data in _cells(files, column)))
    return FoundData(
        location=location,
        kind="parquet",
        samples=sum(pq.read_metadata(file).num_rows for file in files),
        classes=_distinct(files, label),
        side=side,
        grey=grey,
    )


def _distinct(files: list[Path], label: str | None) -> int:
    if label is None:
        return 0
    columns = (pq.read_table(file, columns=[label])[label] for file in files)
    return len({value for c in columns for value in c.unique().to_pylist() if value is not None})


def _cells(files: list[Path], column: str) -> Iterator[bytes]:
    """Images of tables, some of each of a few files that are spread over all."""
    chosen = files[:: max(1, len(files) // 8)]
    for path in chosen:
        left = -(-_LOOKED_AT // len(chosen))
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_AT_A_TIME, columns=[column]):
                cells = batch.column(0)
                if pa.types.is_struct(cells.type):
                    cells = cells.field("bytes")
                yield from (cell or b"" for cell in cells.to_pylist()[:left])
                left -= len(cells)
                if left <= 0:
                    break


def _shards(location: str, *, train: str, test: str | None) -> FoundData:
    manifest = load_manifest(storage.absolute(train))
    if not manifest.samples:
        raise UserError(Problem(train, "its manifest lists no sample"))
    side, grey = _usual(location, (_look(io.BytesIO(d)) for d in _members(train, manifest)))
    return FoundData(
        location=location,
        kind="shards",
        samples=manifest.samples,
        classes=len(manifest.classes) if manifest.labelled else 0,
        side=side,
        grey=grey,
        train=train,
        test=test,
        parts=manifest.parts,
    )


def _members(train: str, manifest: Manifest) -> list[bytes]:
    """Some samples of shards: the first of a shuffle are like any others, and lie together."""
    count = min(_LOOKED_AT, manifest.samples)
    last = count if manifest.shuffled else manifest.samples
    ids = np.unique(np.linspace(0, last - 1, count).astype(np.int64))
    try:
        with ShardReader(load_corpus((storage.absolute(train),))) as reader:
            return reader.read(ids)
    except OSError as error:
        raise UserError(Problem(train, f"its shards cannot be read: {error}")) from error


def _look(source: Path | io.BytesIO) -> Look | None:
    """Of an image, from its header; None if it has none that can be read."""
    try:
        with Image.open(source, formats=FORMATS) as image:
            grey = image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")
            return Look(side=min(image.size), grey=grey)
    except Exception:  # whatever Pillow meets: sharding will say what is wrong with it
        return None


def _usual(location: str, looks: Iterable[Look | None]) -> tuple[int, bool]:
    """The median of the shorter sides in pixels, and whether all are grey."""
    tried = list(looks)
    found = [look for look in tried if look is not None]
    if not found:
        raise UserError(
            Problem(location, f"none of {len(tried)} images that were looked at can be read")
        )
    side = round(statistics.median(look.side for look in found))
    return side, all(look.grey for look in found)
