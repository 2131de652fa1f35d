"""The trace of a run: which sample was really in which step, as which bytes from the readers.

Each rank writes rows of its own, in a file for each start of the run, so that a kill can cut short
only the end of a file, which the next start repeats. The end of the run joins them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import collectives
from pipeline.data.assemble import Batch
from pipeline.data.whole_file import whole_parquet

TRACE_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),  # counted from 1, as in the journal
        ("epoch", pa.int64()),
        ("rank", pa.int32()),
        ("stream", pa.int32()),
        ("position", pa.int64()),  # in the stream's order of the epoch
        ("sample_id", pa.int64()),
        ("view_checksums", pa.list_(pa.uint64())),  # one for each view
    ]
)


class Trace:
    """The writing end of one rank, from one start of the run on."""

    def __init__(self, folder: Path) -> None:
        """Open a file of this rank's own. Every rank calls this.

        Args:
            folder: the run's, for traces; made if need be.
        """
        folder.mkdir(exist_ok=True)
        attempt = collectives.gather_json(max(_files(folder), default=-1) + 1)[0]
        self._rank = collectives.rank()
        self._file = (folder / f"attempt-{attempt:06d}-rank-{self._rank:05d}.arrows").open("xb")
        self._writer = pa.ipc.new_stream(self._file, TRACE_SCHEMA)
        self._waiting: list[pa.Table] = []

    def add(self, step: int, batch: Batch) -> None:
        """Note what a step has used; kept in memory until `flush`.

        Args:
            step: the global step that the batch was used in, counted from 1.
            batch: this rank's share of it.
        """
        count, views = len(batch.sample_id), sum(block.shape[1] for block in batch.views)
        checksums = pa.ListArray.from_arrays(
            np.arange(0, count * views + 1, views, dtype=np.int32), pa.array(_checksums(batch))
        )
        columns = [
            np.full(count, step),
            np.full(count, batch.epoch),
            np.full(count, self._rank, dtype=np.int32),
            batch.stream,
            batch.position,
            batch.sample_id,
            checksums,
        ]
        self._waiting.append(pa.table(columns, schema=TRACE_SCHEMA))

    def flush(self) -> None:
        """Bring the rows to storage, as one record. Every rank calls this after the same steps.

        Before a checkpoint it must have been called: what a checkpoint holds is not repeated.
        """
        if self._waiting:
            (record,) = pa.concat_tables(self._waiting).combine_chunks().to_batches()
            self._writer.write_batch(record)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._waiting.clear()


def join_trace(folder: Path, path: Path) -> None:
    """Join what all ranks wrote into one Parquet file, by (step, stream, position).

    A step that was repeated after a kill has the rows of the last start that served it. The file
    replaces another one in one step.

    Args:
        folder: where the ranks wrote.
        path: the file.

    Raises:
        OSError: the file cannot be written.
    """
    attempts = [files for _, files in sorted(_files(folder).items())]
    firsts = [_first_step(files) for files in attempts]
    with whole_parquet(path, TRACE_SCHEMA) as writer:
        for number, files in enumerate(attempts):
            later = [first for first in firsts[number + 1 :] if first is not None]
            for table in _tables(files):
                kept = table.filter(pc.less(table["step"], min(later))) if later else table
                if len(kept):
                    writer.write_table(kept)


def _checksums(batch: Batch) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Of each view's bytes, sample by sample; (B * V,) uint64, the first 8 bytes of BLAKE2b."""
    views = (
        view for blocks in zip(*batch.views, strict=True) for block in blocks for view in block
    )
    digests = (hashlib.blake2b(view.tobytes(), digest_size=8).digest() for view in views)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def _files(folder: Path) -> dict[int, list[Path]]:
    """The files of every start of the run, in rank order."""
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.glob("attempt-*-rank-*.arrows")):
        (attempt,) = re.findall(r"attempt-(\d+)-", path.name)
        found.setdefault(int(attempt), []).append(path)
    return found


def _first_step(files: list[Path]) -> int | None:
    first = next(_tables(files), None)
    return None if first is None else first["step"][0].as_py()


def _tables(files: list[Path]) -> Iterator[pa.Table]:
    """What all ranks of one start wrote, sorted, a flush at a time.

    It ends where any of the files does: a step that a rank is missing from never counted.
    """
    for records in zip(*(_records(file) for file in files), strict=False):
        table = pa.Table.from_batches(records)
        yield table.sort_by([(name, "ascending") for name in ("step", "stream", "position")])


def _records(path: Path) -> Iterator[pa.RecordBatch]:
    """The whole records of a file; what a kill cut short is left out."""
    with path.open("rb") as file:
        try:
            yield from pa.ipc.open_stream(file)
        except (pa.ArrowInvalid, OSError):
            return
