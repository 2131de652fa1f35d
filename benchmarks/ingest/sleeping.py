"""What many ingest CPUs would do: read tasks that sleep as long as decoding takes.

    python -m benchmarks.ingest.sleeping --ingest inline --cpus 256 --json

On a machine with few cores. Busy is what the samples slept, as a share of the CPUs' time; order and
rows are checked, and the most that was under way is compared with the bound that `plan` prints.
Under Ray each CPU is a process of 100 to 150 MB.
"""

from __future__ import annotations

import itertools
import json
import mmap
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # workers start by importing this file, so the rest is imported where it is used
    import pyarrow as pa

    from pipeline.data.order.slices import Slice
    from pipeline.data.order.streams import StreamPlan
    from pipeline.data.reading.ahead import ReadingAhead

_STREAMS = 8
_WARM_UP = 3  # rounds of all CPUs


@dataclass(frozen=True)
class _Views:
    row_bytes: int


@dataclass(frozen=True)
class SleepingReader:
    """Stands for a `SliceReader`: sleeps for each sample, and gives rows of zeros."""

    views: _Views
    ms: float

    def read(self, piece: Slice) -> pa.Table:
        """Rows of the views' size, with their slice's place and when it was being read."""
        import numpy as np
        import pyarrow as pa

        began = time.time()
        rows = sum(stop - low for _, low, stop in piece.ranges)
        # Pages that nobody touches, since to write them is no part of sleeping.
        zeros = pa.py_buffer(mmap.mmap(-1, rows * self.views.row_bytes))
        pixels = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(self.views.row_bytes), rows, [None, zeros]
        )
        first = np.full(rows, piece.ranges[0][1])  # tells slices apart
        time.sleep(max(0.0, self.ms / 1e3 * rows - (time.time() - began)))
        return pa.table({"first": first, "began": np.full(rows, began), "pixels": pixels})


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one ingest, after it has warmed up."""

    ingest: str
    cpus: int
    ms_per_image: float
    slices_ahead: int
    samples_per_slice: int
    images_per_s: float
    busy: float  # what the samples slept, of the CPUs' time
    bound_mb: float  # as `plan` prints it
    most_mb: float  # under way at a time, of those that were begun


def main(
    ingest: Annotated[str, typer.Option(help="inline or ray.")] = "inline",
    cpus: Annotated[int, typer.Option(help="That read at a time.")] = 64,
    ms: Annotated[float, typer.Option(help="A sample sleeps.")] = 4.4,
    row_bytes: Annotated[int, typer.Option(help="Of a sample's views.")] = 301_056,
    batch: Annotated[int, typer.Option(help="Samples.")] = 256,
    at_most: Annotated[int, typer.Option(help="data.read_ahead_bytes.")] = 4 << 30,
    seconds: Annotated[float, typer.Option(help="After warming up.")] = 20.0,
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
) -> None:
    """Measure one ingest."""
    from pipeline.data.order.streams import StreamPlan
    from pipeline.data.reading.ahead import reading_ahead

    plan = StreamPlan(
        seed=0, samples=1 << 24, streams=_STREAMS, global_batch=batch, shuffle_window=4096
    )
    ahead = reading_ahead(
        streams=_STREAMS,
        per_batch=plan.per_batch,
        row_bytes=row_bytes,
        cpus=cpus,
        at_most=at_most,
    )
    reader = SleepingReader(_Views(row_bytes), ms)
    if ingest == "ray":
        _start_ray(cpus, at_most)
    found = _measured(ingest, reader, plan, ahead, cpus=cpus, seconds=seconds)
    print(json.dumps(asdict(found)), file=sys.stdout if json_ else sys.stderr)


def _start_ray(cpus: int, at_most: int) -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=max(at_most * 3 // 2, 512 << 20),
    )


def _measured(
    ingest: str,
    reader: SleepingReader,
    plan: StreamPlan,
    ahead: ReadingAhead,
    *,
    cpus: int,
    seconds: float,
) -> Measured:
    spans: list[tuple[float, float, int]] = []  # begun, taken apart, rows
    since = until = rows = 0.0
    for number, table in enumerate(_tables(ingest, reader, plan, ahead, cpus)):
        until = time.time()
        spans.append((table["began"][0].as_py(), until, table.num_rows))
        if number == _WARM_UP * cpus:
            since = until
        elif since:
            rows += table.num_rows
            if until - since > seconds:
                break
    rate = rows / (until - since)
    return Measured(
        ingest=ingest,
        cpus=cpus,
        ms_per_image=reader.ms,
        slices_ahead=ahead.slices,
        samples_per_slice=ahead.per_stream * _STREAMS,
        images_per_s=round(rate, 1),
        busy=round(rate * reader.ms / 1e3 / cpus, 3),
        bound_mb=round(ahead.bytes / 1e6, 1),
        most_mb=round(_most(spans) * reader.views.row_bytes / 1e6, 1),
    )


def _tables(
    ingest: str, reader: Any, plan: StreamPlan, ahead: ReadingAhead, cpus: int
) -> Iterator[pa.Table]:
    """The ingest's tables, each compared with the slice that it must be of."""
    from pipeline.data.order.slices import slices
    from pipeline.data.reading.ingest import inline

    def pieces() -> Iterator[Slice]:
        return slices(
            plan,
            positions=dict.fromkeys(range(_STREAMS), 0),
            step=0,
            total_steps=plan.steps_per_epoch,
            per_stream=ahead.per_stream,
        )

    if ingest == "inline":
        tables = inline(reader, pieces(), cpus=cpus)
    else:
        from pipeline.data.reading.ray_ingest import ray_data

        tables = ray_data(reader, pieces(), cpus=cpus)
    for table, piece in zip(tables, pieces(), strict=False):
        assert table["first"][0].as_py() == piece.ranges[0][1]
        rows = sum(stop - low for _, low, stop in piece.ranges)
        assert table["pixels"].nbytes == rows * reader.views.row_bytes
        yield table


def _most(spans: list[tuple[float, float, int]]) -> int:
    """Most rows that were begun and not yet taken apart, at any time."""
    changes = [(begin, rows) for begin, _, rows in spans]
    changes += [(taken, -rows) for _, taken, rows in spans]
    return max(itertools.accumulate(change for _, change in sorted(changes)))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    typer.run(main)
