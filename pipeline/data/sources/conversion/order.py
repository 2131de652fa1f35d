"""One global shuffle of a listing that need not fit in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.data.sources.conversion.source import shuffle_keys

_IN_MEMORY = 1 << 18  # samples whose listing is sorted as it is
_BLOCKS = 256


@contextmanager
def shuffled(
    listing: Iterable[pa.RecordBatch], schema: pa.Schema, *, seed: int
) -> Iterator[Iterator[pa.Table]]:
    """The rows of a listing in the order of their shuffle keys, in pieces.

    A large listing is written to a temporary folder in blocks, each of a range of keys, which are
    then sorted one by one. The listing has been read to its end when the body begins.

    Args:
        listing: rows with a `number` each.
        schema: of the listing.
        seed: of the shuffle.
    """
    batches = iter(listing)
    head: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        head.append(batch)
        rows += len(batch)
        if rows > _IN_MEMORY:
            break
    if rows <= _IN_MEMORY:
        yield iter([_sorted(pa.Table.from_batches(head, schema), seed)] if rows else [])
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{block:03d}.arrow") for block in range(_BLOCKS)]
        _distribute(chain(_drained(head), batches), schema, paths, seed)
        yield (_sorted(_read(path), seed) for path in paths)


def _drained(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    while batches:
        yield batches.pop(0)


def _distribute(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, paths: list[Path], seed: int
) -> None:
    with ExitStack() as files:
        writers = [files.enter_context(pa.ipc.new_stream(path, schema)) for path in paths]
        for batch in batches:
            keys = shuffle_keys(seed, batch["number"].to_numpy())
            block = ((keys >> np.uint64(32)).astype(np.int64) * len(paths)) >> 32
            order = np.argsort(block, kind="stable")
            grouped = batch.take(pa.array(order))
            ends = np.searchsorted(block[order], np.arange(len(paths)), side="right").tolist()
            start = 0
            for writer, end in zip(writers, ends, strict=True):
                if end > start:
                    writer.write_batch(grouped.slice(start, end - start))
                start = end


def _read(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        return reader.read_all()


def _sorted(table: pa.Table, seed: int) -> pa.Table:
    keys = shuffle_keys(seed, table["number"].to_numpy())
    return table.combine_chunks().take(pa.array(np.argsort(keys, kind="stable")))
