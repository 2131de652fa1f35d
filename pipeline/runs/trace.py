"""The trace of a run: which sample was really in which step, as which bytes from the readers.

Each rank writes rows of its own, part by part in files that appear whole, so that a kill can lose
only the last parts, which the next start repeats. The end of the run joins them.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from itertools import count, takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import collectives
from pipeline.data import storage
from pipeline.data.order.corpus import Corpus
from pipeline.data.reading.assemble import Batch
from pipeline.data.reading.kept import kept_fields, with_kept
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


_NAME = re.compile(r"start-(\d+)-part-(\d+)-rank-(\d+)-of-(\d+)\.arrow")


class Trace:
    """The writing end of one rank, from one start of the run on."""

    def __init__(self, folder: str) -> None:
        """Take the number of a new start. Every rank calls this.

        Args:
            folder: path or URI of the run's folder for traces; made if need be.
        """
        self._folder = folder
        self._start = collectives.gather_json(max(_starts(folder), default=-1) + 1)[0]
        self._part = 0
        self._rank = collectives.rank()
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
        """Bring the rows to storage, as one part. Every rank calls this after the same steps.

        Before a checkpoint it must have been called: what a checkpoint holds is not repeated.
        """
        if not self._waiting:
            return
        name = (
            f"start-{self._start:06d}-part-{self._part:06d}"
            f"-rank-{self._rank:05d}-of-{collectives.world_size():05d}.arrow"
        )
        written = pa.BufferOutputStream()
        with pa.ipc.new_file(written, TRACE_SCHEMA) as writer:
            writer.write_table(pa.concat_tables(self._waiting))
        storage.write_file(
            storage.join(self._folder, name),
            written.getvalue().to_pybytes(),
            attempts=storage.PATIENT,
        )
        self._part += 1
        self._waiting.clear()


def join_trace(folder: str, path: Path, corpus: Corpus | None = None) -> None:
    """Join what all ranks wrote into one Parquet file, by (step, stream, position).

    Columns that were kept of the samples follow, as `kept.NAME`.

    A step that was repeated after a kill has the rows of the last start that served it. The file
    replaces another one in one step.

    Args:
        folder: path or URI of where the ranks wrote.
        path: the file.
        corpus: the run's data, whose kept columns follow; None: none do.

    Raises:
        OSError: the file cannot be written, or an index not be read.
    """
    starts = [parts for _, parts in sorted(_starts(folder).items())]
    firsts = [_read(parts[0])["step"][0].as_py() for parts in starts if parts]
    fields = kept_fields(corpus) if corpus else []
    with whole_parquet(path, pa.schema([*TRACE_SCHEMA, *fields])) as writer:
        for number, parts in enumerate(filter(None, starts)):
            later = firsts[number + 1 :]
            for files in parts:
                table = _read(files)
                kept = table.filter(pc.less(table["step"], min(later))) if later else table
                if len(kept):
                    writer.write_table(with_kept(kept, corpus) if corpus else kept)


def _checksums(batch: Batch) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Of each view's bytes, sample by sample; (B * V,) uint64, the first 8 bytes of BLAKE2b."""
    views = (
        view for blocks in zip(*batch.views, strict=True) for block in blocks for view in block
    )
    digests = (hashlib.blake2b(view.tobytes(), digest_size=8).digest() for view in views)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def _starts(folder: str) -> dict[int, list[list[str]]]:
    """For every start of the run its parts, in order, each as the files of all ranks.

    They end before the first part that a rank is missing from: its steps never counted.
    """
    try:
        files = storage.list_files(folder)
    except FileNotFoundError:
        return {}
    found: dict[int, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    ranks: dict[int, int] = {}
    for file in files:
        if match := _NAME.fullmatch(storage.file_name(file)):
            start, part, _, ranks[start] = map(int, match.groups())
            found[start][part].append(file)
    return {start: _whole_parts(parts, ranks[start]) for start, parts in found.items()}


def _whole_parts(parts: dict[int, list[str]], ranks: int) -> list[list[str]]:
    in_order = (parts.get(number, []) for number in count())
    return list(takewhile(lambda files: len(files) == ranks, in_order))


def _read(files: list[str]) -> pa.Table:
    """A part of all ranks."""
    tables = [pa.ipc.open_file(storage.read_file(file)).read_all() for file in files]
    joined = pa.concat_tables(tables)
    return joined.sort_by([(name, "ascending") for name in ("step", "stream", "position")])
