"""However many CPUs read, what they read ahead stays within its bound and its order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.order.slices import Slice, slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.ahead import reading_ahead, slices_ahead
from pipeline.data.reading.ingest import inline

pytestmark = pytest.mark.fast

ROW = 301_056  # two views of 224 pixels


def test_with_room_slices_are_some_512_samples_of_at_most_32_mib() -> None:
    def cut(batch: int, row_bytes: int) -> tuple[int, int]:
        ahead = reading_ahead(
            streams=4, per_batch=batch // 4, row_bytes=row_bytes, cpus=1, at_most=4 << 30
        )
        return ahead.slices, 4 * ahead.per_stream

    assert cut(64, 6144) == (8, 512)  # eight batches
    assert cut(384, 6144) == (8, 384)  # one, since two are more than 512 samples
    assert cut(1000, 6144) == (8, 500)  # half of one
    assert cut(64, ROW) == (8, 64)
    assert cut(256, ROW) == (8, 88)  # a third of one, in 32 MiB
    assert cut(4096, 6144) == (8, 512)


@given(
    streams=st.integers(1, 64),
    per_batch=st.integers(1, 512),
    row_bytes=st.integers(1, 1 << 24),
    cpus=st.floats(0.01, 1024),
    at_most=st.integers(1 << 20, 1 << 34),
)
def test_bytes_ahead_are_within_the_bound_unless_a_slice_is_as_small_as_it_gets(
    streams: int, per_batch: int, row_bytes: int, cpus: float, at_most: int
) -> None:
    ahead = reading_ahead(
        streams=streams, per_batch=per_batch, row_bytes=row_bytes, cpus=cpus, at_most=at_most
    )
    assert ahead.slices >= 2 * cpus + 6
    assert ahead.slice_bytes == ahead.per_stream * streams * row_bytes
    assert ahead.per_stream == 1 or (
        ahead.bytes <= at_most
        and ahead.slice_bytes <= 32 << 20
        and ahead.per_stream * streams <= 512
    )
    if ahead.per_stream >= per_batch:
        assert ahead.per_stream % per_batch == 0


@dataclass
class SleepingReader:
    """Takes as long as decoding, and counts what is under way; no bytes are read."""

    row_bytes: int
    under_way: int = 0  # bytes read or being read, not yet taken apart
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, piece: Slice) -> pa.Table:
        rows = [(s, at) for s, start, stop in piece.ranges for at in range(start, stop)]
        with self.lock:
            self.under_way += len(rows) * self.row_bytes
            self.most = max(self.most, self.under_way)
        time.sleep(0.001 * len(rows) * (1 + rows[0][1] % 3))  # they end in another order
        return pa.table({"stream": [s for s, _ in rows], "position": [at for _, at in rows]})

    def taken(self, table: pa.Table) -> None:
        with self.lock:
            self.under_way -= len(table) * self.row_bytes


def test_sixty_four_threads_read_in_order_within_the_bound() -> None:
    plan = StreamPlan(seed=0, samples=8000, streams=4, global_batch=64, shuffle_window=64)
    ahead = reading_ahead(streams=4, per_batch=16, row_bytes=ROW, cpus=64, at_most=1 << 30)
    assert ahead.slices == slices_ahead(64) == 134
    assert ahead.per_stream < plan.per_batch

    def pieces() -> Iterator[Slice]:
        positions = dict.fromkeys(range(4), 0)
        return slices(
            plan, positions=positions, step=0, total_steps=125, per_stream=ahead.per_stream
        )

    reader = SleepingReader(ROW)
    served: list[tuple[int, int]] = []
    for table in inline(reader, pieces(), cpus=64):  # type: ignore[arg-type]
        served += zip(table["stream"].to_pylist(), table["position"].to_pylist(), strict=True)
        reader.taken(table)
    assert served == [
        (s, at)
        for piece in pieces()
        for s, start, stop in piece.ranges
        for at in range(start, stop)
    ]
    assert len(served) == 8000
    assert ahead.bytes / 2 < reader.most <= ahead.bytes <= 1 << 30
