"""As it was served before samples could be excluded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.order.corpus import SOURCE_STRIDE
from pipeline.data.order.exclusion import NOTHING, Exclusion
from pipeline.data.order.export import epoch_order
from pipeline.data.order.shuffle import StreamOrder
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import Ids, StreamPlan
from pipeline.data.reading.assemble import Batch, BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import inline
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.manifest import load_manifest
from pipeline.views.parameters import ImageViews
from tests.data.conftest import Spoil

pytestmark = pytest.mark.fast


quick = settings(max_examples=60, deadline=None)

Cut = tuple[list[list[int]], StreamPlan]


def boundaries_of(sizes: list[list[int]]) -> Ids:
    """As `Corpus.boundaries`: of each manifest's shards, and its end."""
    parts = [np.cumsum([0, *own]) + number * SOURCE_STRIDE for number, own in enumerate(sizes)]
    return np.concatenate(parts).astype(np.int64)


def all_ids(sizes: list[list[int]]) -> list[list[int]]:
    """Ids of each manifest, by counting."""
    return [[n * SOURCE_STRIDE + i for i in range(sum(own))] for n, own in enumerate(sizes)]


def slow_left(sizes: list[list[int]], plan: StreamPlan) -> list[list[int]]:
    """Ids of each manifest that are left, one by one."""
    excluded = set(plan.excluded.ids.tolist())
    return [[i for i in own if i not in excluded] for own in all_ids(sizes)]


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    """One to three manifests; scattered ids, whole shards and long runs of them left out."""
    sizes = draw(
        st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=6), min_size=1, max_size=3)
    )
    ids = [i for own in all_ids(sizes) for i in own]
    excluded = set(draw(st.lists(st.sampled_from(ids), max_size=30)))
    for low, high in draw(st.lists(st.tuples(*[st.integers(0, len(ids))] * 2), max_size=2)):
        excluded |= set(ids[low:high])
    left = [len([i for i in own if i not in excluded]) for own in all_ids(sizes)]
    streams = [draw(st.integers(1, min(8, max(1, count)))) for count in left]
    while min(left) == 0:  # a stream has something to serve
        number = left.index(0)
        excluded.discard(all_ids(sizes)[number][0])
        left[number] = 1
    per_batch = draw(st.integers(1, min(c // s for c, s in zip(left, streams, strict=True))))
    plan = StreamPlan(
        seed=draw(st.integers(0, 2**31 - 1)),
        samples=sum(map(sum, sizes)),
        streams=sum(streams),
        global_batch=per_batch * sum(streams),
        shuffle_window=draw(st.sampled_from([1, 2, 7, 16, 4096])),
        sources=tuple((sum(own), s) for own, s in zip(sizes, streams, strict=True))
        if len(sizes) > 1
        else (),
        excluded=Exclusion(draw(st.permutations(sorted(excluded)))),
    )
    return sizes, plan


@quick
@given(cut=cuts())
def test_streams_cut_the_samples_that_are_left_equal_to_one(cut: Cut) -> None:
    sizes, plan = cut
    left = slow_left(sizes, plan)
    assert plan.left == sum(map(len, left))
    streams = iter(range(plan.streams))
    for ids, (_, count) in zip(left, plan.sources_left, strict=True):
        own = [next(streams) for _ in range(count)]
        parts = [plan.bounds(stream) for stream in own]
        assert all(before[1] <= after[0] for before, after in pairwise(parts))
        found = [[i for i in ids if low <= i < high] for low, high in parts]
        assert [i for part in found for i in part] == ids
        lengths = [plan.length(stream) for stream in own]
        assert lengths == [len(part) for part in found]
        assert max(lengths) - min(lengths) <= 1
        assert all((p[0], p[-1]) == (lo, hi - 1) for p, (lo, hi) in zip(found, parts, strict=True))


@quick
@given(cut=cuts(), epoch=st.integers(0, 3))
def test_every_lap_holds_each_sample_that_is_left_exactly_once(cut: Cut, epoch: int) -> None:
    sizes, plan = cut
    left = {i for own in slow_left(sizes, plan) for i in own}
    for stream in range(plan.streams):
        order = StreamOrder(plan, boundaries_of(sizes), epoch=epoch, stream=stream)
        low, high = plan.bounds(stream)
        for lap in order.ids(0, 2 * len(order)).reshape(2, len(order)):
            assert sorted(lap.tolist()) == sorted(i for i in left if low <= i < high)


@quick
@given(cut=cuts(), epoch=st.integers(0, 3))
def test_the_order_of_an_epoch_is_what_is_left_but_for_the_dropped_tail(
    cut: Cut, epoch: int
) -> None:
    sizes, plan = cut
    left = [i for own in slow_left(sizes, plan) for i in own]
    tables = list(epoch_order(plan, boundaries_of(sizes), epoch=epoch))
    served = [i for table in tables for i in table["sample_id"].to_pylist()]
    assert set(served) <= set(left)
    assert len(served) == plan.steps_per_epoch * plan.global_batch
    assert len(set(served)) == len(left) - plan.dropped_tail == len(served) - plan.repeated


@quick
@given(cut=cuts(), data=st.data())
def test_runs_that_windows_mix_hold_their_samples_and_none_that_is_excluded(
    cut: Cut, data: st.DataObject
) -> None:
    sizes, plan = cut
    stream = data.draw(st.integers(0, plan.streams - 1))
    order = StreamOrder(plan, boundaries_of(sizes), epoch=0, stream=stream)
    at = data.draw(st.integers(0, len(order) - 1))
    runs = order.pieces(at, at + 1)
    assert (runs[:, 0] < runs[:, 1]).all()
    held = {i for low, high in runs.tolist() for i in range(low, high)}
    window = at // plan.shuffle_window * plan.shuffle_window
    of_window = order.ids(window, min(window + plan.shuffle_window, len(order))).tolist()
    assert set(of_window) <= held
    assert not held & set(plan.excluded.ids.tolist())
    for low, high in runs.tolist():  # of one shard each
        assert not any(low < boundary < high for boundary in boundaries_of(sizes))


@quick
@given(cut=cuts())
def test_an_order_is_that_of_a_set_that_never_had_the_excluded_samples(cut: Cut) -> None:
    """The mask moves no draw: leaving out equals having shards without them, but for the names."""
    sizes, plan = cut
    excluded = set(plan.excluded.ids.tolist())
    left_sizes, names = [], {}
    for number, own in enumerate(sizes):
        first, counts = number * SOURCE_STRIDE, []
        for size in own:
            counts.append(len([i for i in range(first, first + size) if i not in excluded]))
            first += size
        left_sizes.append([count for count in counts if count])
        left = [i for i in all_ids(sizes)[number] if i not in excluded]
        names |= {number * SOURCE_STRIDE + rank: i for rank, i in enumerate(left)}
    without = StreamPlan(
        seed=plan.seed,
        samples=plan.left,
        streams=plan.streams,
        global_batch=plan.global_batch,
        shuffle_window=plan.shuffle_window,
        sources=plan.sources_left if plan.sources else (),
    )
    for stream in range(plan.streams):
        masked = StreamOrder(plan, boundaries_of(sizes), epoch=1, stream=stream)
        plain = StreamOrder(without, boundaries_of(left_sizes), epoch=1, stream=stream)
        length = len(plain)
        assert masked.ids(0, length).tolist() == [names[i] for i in plain.ids(0, length).tolist()]


GOLDEN = [60, 47, 49, 61, 58, 53, 66, 48, 59, 54, 45, 57, 65, 62, 50, 46, 64, 52, 63, 56, 55, 51]


def test_an_order_with_nothing_excluded_is_that_of_before() -> None:
    plan = StreamPlan(seed=3, samples=90, streams=4, global_batch=20, shuffle_window=16)
    order = StreamOrder(plan, np.array([0, 25, 50, 75, 90]), epoch=1, stream=2)
    assert order.ids(0, len(order)).tolist() == GOLDEN
    assert plan == StreamPlan(
        seed=3,
        samples=90,
        streams=4,
        global_batch=20,
        shuffle_window=16,
        excluded=Exclusion([]),
    )


VIEWS = ImageViews(size=4, count=1, jitter=0.0)


def batches(
    reader: SliceReader, *, workers: int, steps: int, cut_at: int | None = None
) -> Iterator[tuple[int, Batch]]:
    """What workers get, one after the other; each is stopped and taken up again at a step."""
    plan = reader.plan
    for rank in range(workers):
        cursors = {stream: Cursor() for stream in plan.streams_of(rank, workers)}
        for first, last in ((0, cut_at or steps), (cut_at or steps, steps)):
            positions = {stream: cursor.position for stream, cursor in cursors.items()}
            pieces = slices(
                plan,
                positions=positions,
                step=first,
                total_steps=steps,
                per_stream=3 * plan.per_batch,
            )
            assembler = BatchAssembler(reader, cursors=cursors, step=first, total_steps=steps)
            found = assembler.batches(inline(reader, pieces, cpus=1))
            for step in range(first, last):
                yield step, next(found)
            found.close()


def columns_of(batch: Batch) -> tuple[Ids, ...]:
    return batch.stream, batch.position, batch.sample_id


def reader_of(folder: Path, excluded: Exclusion, streams: int = 4) -> SliceReader:
    plan = StreamPlan(
        seed=3,
        samples=90,
        streams=streams,
        global_batch=12,
        shuffle_window=16,
        excluded=excluded,
    )
    return SliceReader(manifests=(str(folder),), plan=plan, views=VIEWS)


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_any_number_of_workers_is_served_the_same_and_samples_keep_their_bytes(
    noise_shards: Path, kind: str
) -> None:
    folder = noise_shards / kind
    excluded = Exclusion([0, 1, 24, 25, *range(50, 75), 89])
    reader = reader_of(folder, excluded)
    boundaries = load_manifest(folder).boundaries()
    per_epoch = reader.plan.steps_per_epoch
    served = {}
    for workers, cut_at in ((1, None), (2, 2), (4, 6)):
        found = [
            (step, stream, position, sample_id, batch.views[0][row].tobytes())
            for step, batch in batches(reader, workers=workers, steps=8, cut_at=cut_at)
            for row, (stream, position, sample_id) in enumerate(
                zip(*(c.tolist() for c in columns_of(batch)), strict=True)
            )
        ]
        served[workers] = sorted(found)
    assert served[1] == served[2] == served[4]
    assert per_epoch == 5
    (table,) = epoch_order(reader.plan, boundaries, epoch=0)
    first_epoch = [row for row in served[1] if row[0] < per_epoch]
    assert table["sample_id"].to_pylist() == [row[3] for row in first_epoch]
    assert not {row[3] for row in served[1]} & set(excluded.ids.tolist())

    whole = reader_of(folder, NOTHING)
    of_whole = {
        i: batch.views[0][row].tobytes()
        for step, batch in batches(whole, workers=1, steps=whole.plan.steps_per_epoch)
        for row, i in enumerate(batch.sample_id.tolist())
    }
    both = [row for row in first_epoch if row[3] in of_whole]
    assert len(both) > 40
    assert all(pixels == of_whole[i] for _, _, _, i, pixels in both)


def test_excluded_samples_are_neither_decoded_nor_taken_for_bad_ones(
    noise_shards: Path, spoil: Spoil, tmp_path: Path
) -> None:
    """Bad samples that are excluded cost nothing; others are replaced by samples that are left."""
    excluded = Exclusion([3, 4, 5, 30, 31, 60, 61, 62])
    folder = spoil(noise_shards / "tar", tmp_path / "spoilt", [3, 4, 30, 10, 11, 70])
    reader = reader_of(folder, excluded, streams=2)
    cursors = {stream: Cursor() for stream in range(2)}
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=12)
    pieces = slices(
        reader.plan,
        positions=dict.fromkeys(cursors, 0),
        step=0,
        total_steps=12,
        per_stream=2 * reader.plan.per_batch,
    )
    served = [i for b in assembler.batches(inline(reader, pieces, cpus=1)) for i in b.sample_id]
    assert not set(served) & {3, 4, 5, 30, 31, 60, 61, 62, 10, 11, 70}
    ledger = {entry.sample_id for cursor in cursors.values() for entry in cursor.ledger}
    assert ledger == {10, 11, 70}
    account = assembler.account()
    assert account.planned == 2 * 82
    assert account.planned == (
        account.served - account.repeated + account.quarantined + account.dropped
    )


def test_a_million_of_a_billion_samples_are_left_out_in_little_time() -> None:
    rng = np.random.default_rng(0)
    excluded = Exclusion(rng.choice(10**9, 10**6))
    plan = StreamPlan(
        seed=0,
        samples=10**9,
        streams=64,
        global_batch=4096,
        shuffle_window=4096,
        excluded=excluded,
    )
    boundaries = np.arange(0, 10**9 + 1, 1000)
    order = StreamOrder(plan, boundaries, epoch=3, stream=17)
    ids = order.ids(0, 1 << 20)
    assert not np.isin(ids, excluded.ids).any()
    assert len(np.unique(ids)) == len(ids)
