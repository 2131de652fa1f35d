"""The order that `plan --order` writes is the order that is served, to the last position."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.order import export as order
from pipeline.data.order.export import ORDER_SCHEMA, epoch_order, write_order
from pipeline.data.order.shuffle import StreamOrder
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import Ids, StreamPlan
from pipeline.data.reading.assemble import BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import inline
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.manifest import load_manifest
from pipeline.errors import UserError
from pipeline.views.parameters import ImageViews

pytestmark = pytest.mark.fast

PLAN = StreamPlan(seed=3, samples=90, streams=4, global_batch=20, shuffle_window=16)
Row = tuple[int, int, int, int]


def rows_of(table: pa.Table) -> list[Row]:
    assert table.schema == ORDER_SCHEMA
    return list(zip(*(table[name].to_pylist() for name in ORDER_SCHEMA.names), strict=True))


def one_by_one(plan: StreamPlan, boundaries: Ids, epoch: int) -> Iterator[Row]:
    """The order as the design tells it: global batch by global batch, stream by stream."""
    orders = [
        StreamOrder(plan, boundaries, epoch=epoch, stream=stream) for stream in range(plan.streams)
    ]
    for batch in range(plan.steps_per_epoch):
        for stream in range(plan.streams):
            for position in range(batch * plan.per_batch, (batch + 1) * plan.per_batch):
                (sample_id,) = orders[stream].ids(position, position + 1).tolist()
                yield batch, stream, position, sample_id


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Ids, StreamPlan]:
    """1 to 120 streams over unequal shards; half of the sets hold one batch and hardly more."""
    streams = draw(st.integers(1, 120))
    per_batch = draw(st.integers(1, 4))
    batch = streams * per_batch
    most = draw(st.sampled_from([batch, batch + streams - 1, 4 * batch]))
    samples = draw(st.integers(batch, most))
    cuts_at = draw(st.sets(st.integers(1, max(1, samples - 1)), max_size=12))
    boundaries = np.array(sorted({0, samples, *(at for at in cuts_at if at < samples)}), np.int64)
    plan = StreamPlan(
        seed=draw(st.integers(0, 2**31 - 1)),
        samples=samples,
        streams=streams,
        global_batch=batch,
        shuffle_window=draw(st.sampled_from([1, 7, 16, 4096])),
    )
    return boundaries, plan


@settings(max_examples=40, deadline=None)
@given(cut=cuts(), epoch=st.integers(0, 3), rows_at_a_time=st.sampled_from([1, 100, 1 << 18]))
def test_it_is_the_order_one_by_one_with_each_sample_once_but_for_the_dropped_tail(
    cut: tuple[Ids, StreamPlan], epoch: int, rows_at_a_time: int
) -> None:
    boundaries, plan = cut
    tables = list(epoch_order(plan, boundaries, epoch=epoch, rows_at_a_time=rows_at_a_time))
    rows = [row for table in tables for row in rows_of(table)]
    assert rows == list(one_by_one(plan, boundaries, epoch))
    ids = {row[-1] for row in rows}
    assert ids <= set(range(plan.samples))
    assert len(ids) == len(rows) == plan.samples - plan.dropped_tail
    assert all(len(table) <= max(rows_at_a_time, plan.global_batch) for table in tables)


def served(folder: Path, *, workers: int, steps: int) -> list[Row]:
    """What `inline` really gives so many workers, in the order of the table."""
    rows = []
    reader = SliceReader(
        manifests=(str(folder),), plan=PLAN, views=ImageViews(size=4, count=1, jitter=0.0)
    )
    for rank in range(workers):
        mine = PLAN.streams_of(rank, workers)
        assembler = BatchAssembler(
            reader, cursors={s: Cursor() for s in mine}, step=0, total_steps=steps
        )
        pieces = slices(
            PLAN,
            positions=dict.fromkeys(mine, 0),
            step=0,
            total_steps=steps,
            per_stream=3 * PLAN.per_batch,
        )
        for step, batch in enumerate(assembler.batches(inline(reader, pieces, cpus=1))):
            assert batch.epoch == step // PLAN.steps_per_epoch
            columns = (batch.stream, batch.position, batch.sample_id)
            rows += [(step, *row) for row in zip(*(c.tolist() for c in columns), strict=True)]
    return sorted(rows)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_it_is_what_is_served_to_any_number_of_workers(noise_shards: Path, workers: int) -> None:
    folder = noise_shards / "tar"
    boundaries = load_manifest(folder).boundaries()
    per_epoch = PLAN.steps_per_epoch
    found = served(folder, workers=workers, steps=2 * per_epoch)
    for epoch in range(2):
        (table,) = epoch_order(PLAN, boundaries, epoch=epoch)
        planned = [(batch + epoch * per_epoch, *rest) for batch, *rest in rows_of(table)]
        assert planned == [row for row in found if row[0] // per_epoch == epoch]


def test_a_file_holds_the_order_in_row_groups_of_bounded_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = epoch_order
    monkeypatch.setattr(order, "epoch_order", lambda *a, **k: real(*a, **k, rows_at_a_time=40))
    boundaries = np.array([0, 50, 90])
    assert write_order(tmp_path / "order.parquet", PLAN, boundaries, epoch=1) == 80
    assert rows_of(pq.read_table(tmp_path / "order.parquet")) == list(
        one_by_one(PLAN, boundaries, 1)
    )
    metadata = pq.read_metadata(tmp_path / "order.parquet")
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [40, 40]
    assert [path.name for path in tmp_path.iterdir()] == ["order.parquet"]


def test_a_file_that_was_cut_short_leaves_the_one_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "order.parquet"
    path.write_text("before")

    def breaking(*arguments: Any, **named: Any) -> Iterator[pa.Table]:
        yield from epoch_order(*arguments, **named)
        raise OSError("disk full")

    monkeypatch.setattr(order, "epoch_order", breaking)
    with pytest.raises(UserError, match=r"--order: .*order.parquet cannot be written: disk full"):
        write_order(path, PLAN, np.array([0, 90]), epoch=0)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["absent/order.parquet", "."])
def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="--order: "):
        write_order(tmp_path / name, PLAN, np.array([0, 90]), epoch=0)
    assert list(tmp_path.iterdir()) == []
