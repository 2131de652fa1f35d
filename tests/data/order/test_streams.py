"""The promise of canonical streams: order and membership are pure functions of the plan."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.data.order.shuffle import StreamOrder
from pipeline.data.order.slices import slices
from pipeline.data.order.stream_problems import problems
from pipeline.data.order.streams import Ids, StreamPlan
from pipeline.data.order.workers import allowed_workers

pytestmark = pytest.mark.fast

quick = settings(max_examples=40, deadline=None)


def plan_of(
    sizes: list[int], streams: int, per_batch: int = 1, window: int = 16, seed: int = 0
) -> StreamPlan:
    return StreamPlan(
        seed=seed,
        samples=sum(sizes),
        streams=streams,
        global_batch=per_batch * streams,
        shuffle_window=window,
    )


def boundaries_of(sizes: list[int]) -> Ids:
    return np.cumsum([0, *sizes]).astype(np.int64)


def order_of(plan: StreamPlan, sizes: list[int], stream: int, epoch: int = 0) -> StreamOrder:
    return StreamOrder(plan, boundaries_of(sizes), epoch=epoch, stream=stream)


def epoch_ids(plan: StreamPlan, sizes: list[int], stream: int, epoch: int = 0) -> list[int]:
    order = order_of(plan, sizes, stream, epoch)
    return order.ids(0, len(order)).tolist()


@st.composite
def cuts(draw: st.DrawFn) -> tuple[list[int], StreamPlan]:
    """Unequal shards and a plan that they allow, down to sets that are barely large enough."""
    sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=12))
    streams = draw(st.integers(1, min(40, sum(sizes))))
    per_batch = draw(st.integers(1, sum(sizes) // streams))
    window = draw(st.sampled_from([1, 2, 7, 8, 16, 50, 4096]))
    return sizes, plan_of(sizes, streams, per_batch, window, draw(st.integers(0, 2**31)))


@quick
@given(cut=cuts())
def test_streams_are_contiguous_disjoint_equal_to_one_and_cover_everything(
    cut: tuple[list[int], StreamPlan],
) -> None:
    _, plan = cut
    bounds = [plan.bounds(stream) for stream in range(plan.streams)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == plan.samples
    assert all(left[1] == right[0] for left, right in pairwise(bounds))
    lengths = [high - low for low, high in bounds]
    assert max(lengths) - min(lengths) <= 1


@quick
@given(cut=cuts(), epoch=st.integers(0, 5), laps=st.integers(1, 3))
def test_every_lap_of_a_stream_holds_each_of_its_samples_exactly_once(
    cut: tuple[list[int], StreamPlan], epoch: int, laps: int
) -> None:
    sizes, plan = cut
    for stream in range(plan.streams):
        order = order_of(plan, sizes, stream, epoch)
        ids = order.ids(0, laps * len(order)).reshape(laps, len(order))
        for lap in ids:
            assert sorted(lap.tolist()) == list(range(*plan.bounds(stream)))


@quick
@given(cut=cuts(), epoch=st.integers(0, 3))
def test_an_epoch_serves_no_sample_twice_and_drops_what_the_plan_says(
    cut: tuple[list[int], StreamPlan], epoch: int
) -> None:
    sizes, plan = cut
    reach = plan.steps_per_epoch * plan.per_batch
    parts = [order_of(plan, sizes, s, epoch).ids(0, reach) for s in range(plan.streams)]
    ids = np.concatenate(parts)
    assert plan.steps_per_epoch >= 1
    assert len(np.unique(ids)) == len(ids) == plan.samples - plan.dropped_tail


@quick
@given(cut=cuts(), data=st.data())
def test_any_range_of_positions_equals_that_slice_of_the_whole_order(
    cut: tuple[list[int], StreamPlan], data: st.DataObject
) -> None:
    sizes, plan = cut
    stream = data.draw(st.integers(0, plan.streams - 1))
    length = len(order_of(plan, sizes, stream))
    whole = order_of(plan, sizes, stream).ids(0, 3 * length)
    asked = order_of(plan, sizes, stream)
    for _ in range(4):
        start, stop = sorted(data.draw(st.tuples(*[st.integers(0, 3 * length)] * 2)))
        np.testing.assert_array_equal(asked.ids(start, stop), whole[start:stop])
        np.testing.assert_array_equal(
            order_of(plan, sizes, stream).ids(start, stop), whole[start:stop]
        )


@quick
@given(cut=cuts(), epoch=st.integers(0, 3))
def test_batches_are_the_same_for_every_number_of_workers(
    cut: tuple[list[int], StreamPlan], epoch: int
) -> None:
    sizes, plan = cut
    for step in {0, plan.steps_per_epoch - 1}:
        low, high = step * plan.per_batch, (step + 1) * plan.per_batch
        of_stream = {s: order_of(plan, sizes, s, epoch).ids(low, high) for s in range(plan.streams)}
        batches = [
            np.concatenate([of_stream[s] for r in range(w) for s in plan.streams_of(r, w)])
            for w in allowed_workers(plan.streams)
        ]
        assert all(len(batch) == plan.global_batch for batch in batches)
        for batch in batches[1:]:
            np.testing.assert_array_equal(batch, batches[0])


def test_one_two_and_four_workers_serve_the_same_streams_in_the_same_order() -> None:
    plan = plan_of([50, 30], streams=8)
    assert allowed_workers(8) == [1, 2, 4, 8]
    for w in (1, 2, 4):
        assert [s for rank in range(w) for s in plan.streams_of(rank, w)] == list(range(8))


def test_two_streams_that_share_a_shard_split_it_between_them() -> None:
    sizes = [10, 21, 10]
    left, right = (sorted(epoch_ids(plan_of(sizes, 2), sizes, stream)) for stream in (0, 1))
    assert (left, right) == (list(range(20)), list(range(20, 41)))


@pytest.mark.parametrize("streams", range(1, 41))
def test_a_set_with_one_batch_in_it_gives_one_step(streams: int) -> None:
    sizes = [streams, 2 * streams]
    plan = plan_of(sizes, streams, per_batch=3)
    served = [i for stream in range(streams) for i in epoch_ids(plan, sizes, stream)]
    assert plan.steps_per_epoch == 1
    assert plan.dropped_tail == 0
    assert sorted(served) == list(range(3 * streams))
    assert not problems(samples=sum(sizes), streams=streams, global_batch=3 * streams, workers=1)
    assert problems(samples=sum(sizes) - 1, streams=streams, global_batch=3 * streams, workers=1)


def test_seeds_epochs_laps_and_streams_all_give_other_orders() -> None:
    sizes = [64] * 4
    plans = [plan_of(sizes, streams=2, window=32, seed=seed) for seed in range(3)]
    orders = [
        tuple(i - plan.bounds(stream)[0] for i in epoch_ids(plan, sizes, stream, epoch))
        for plan in plans
        for epoch in range(3)
        for stream in range(2)
    ]
    assert len(set(orders)) == len(orders)
    laps = order_of(plans[0], sizes, 0).ids(0, 256).reshape(2, 128)
    assert (laps[0] != laps[1]).any()
    pieces_only = plan_of(sizes, streams=1, window=1)
    laps = order_of(pieces_only, sizes, 0).ids(0, 512).reshape(2, 256)
    assert (laps[0] != laps[1]).mean() > 0.9


def test_epoch_and_seed_do_not_cancel() -> None:
    sizes = [64, 64]
    first = {tuple(epoch_ids(plan_of(sizes, 1, seed=s), sizes, 0, epoch=0)) for s in range(20)}
    assert len(first) == 20
    swapped = [epoch_ids(plan_of(sizes, 1, seed=s), sizes, 0, epoch=3 - s) for s in range(4)]
    assert len({tuple(order) for order in swapped}) == 4


def test_windows_are_shuffled_each_in_its_own_way() -> None:
    plan = plan_of([1600], streams=1, window=16)
    windows = np.array(epoch_ids(plan, [1600], 0)).reshape(100, 16)
    partners = {tuple((window == (one ^ 1)).argmax() for one in window) for window in windows}
    assert len(partners) > 90


def test_a_window_mixes_pieces_of_several_shards() -> None:
    sizes = [100] * 16
    plan = plan_of(sizes, streams=2, window=80)
    for stream in range(2):
        ids = np.array(epoch_ids(plan, sizes, stream))
        windows = [ids[at : at + 80] // 100 for at in range(0, 800, 80)]
        shards = [len(set(window.tolist())) for window in windows]
        assert np.mean(shards) >= 4
        changes = [np.count_nonzero(np.diff(window)) for window in windows]
        assert min(changes) > 2 * max(shards)


@quick
@given(cut=cuts(), data=st.data())
def test_shares_of_consecutive_positions_make_whole_windows(
    cut: tuple[list[int], StreamPlan], data: st.DataObject
) -> None:
    sizes, plan = cut
    order = order_of(plan, sizes, stream=0)
    ends = data.draw(st.sets(st.integers(1, 3 * len(order)), max_size=8))
    found = [
        share
        for start, stop in pairwise(sorted({0, *ends, 3 * len(order)}))
        for share in order.shares(start, stop)
    ]
    windows = range(0, len(order), plan.shuffle_window)
    begins = [lap * len(order) + begin for lap in range(4) for begin in windows]
    at, number = 0.0, 0
    for following, low, high in found:
        assert low == at
        assert high > low
        assert following == begins[number + 1]
        at, number = (0.0, number + 1) if high == 1 else (high, number)
    assert number == 3 * len(windows)


@quick
@given(cut=cuts(), k=st.integers(1, 9), total=st.integers(1, 40), data=st.data())
def test_slices_from_any_step_are_the_rest_of_the_whole_run(
    cut: tuple[list[int], StreamPlan], k: int, total: int, data: st.DataObject
) -> None:
    _, plan = cut
    assume(plan.streams * total * plan.per_batch < 5000)
    step = data.draw(st.integers(0, total))
    within = step % plan.steps_per_epoch * plan.per_batch

    def positions(first: int, position: int, per_slice: int) -> dict[int, list[tuple[int, int]]]:
        found: dict[int, list[tuple[int, int]]] = {s: [] for s in range(plan.streams)}
        for piece in slices(
            plan,
            positions=dict.fromkeys(range(plan.streams), position),
            step=first,
            total_steps=total,
            per_stream=per_slice,
        ):
            assert [name for name, _, _ in piece.ranges] == list(range(plan.streams))
            for stream, start, stop in piece.ranges:
                assert stop - start <= per_slice
                found[stream] += [(piece.epoch, at) for at in range(start, stop)]
        return found

    whole, rest = positions(0, 0, 1), positions(step, within, k)
    for stream in range(plan.streams):
        assert len(whole[stream]) == total * plan.per_batch
        assert rest[stream] == whole[stream][step * plan.per_batch :]


def test_problems_name_the_nearest_batches_the_allowed_workers_and_the_largest_batch() -> None:
    assert not problems(samples=100, streams=4, global_batch=100, workers=2)

    (batch,) = problems(samples=100, streams=4, global_batch=10, workers=2)
    assert batch.where == "train.global_batch"
    assert "8 or 12" in batch.message

    (workers,) = problems(samples=100, streams=12, global_batch=24, workers=5)
    assert workers.where == "train.workers"
    assert "1, 2, 3, 4, 6, 12" in workers.message

    (small,) = problems(samples=103, streams=4, global_batch=128, workers=1)
    assert small.where == "train.global_batch"
    assert "largest batch that fits is 100" in small.message

    (streams,) = problems(samples=3, streams=4, global_batch=8, workers=1)
    assert "at most 3 streams" in streams.message

    assert len(problems(samples=9, streams=8, global_batch=16, workers=3)) == 2
    assert len(problems(samples=9, streams=8, global_batch=17, workers=3)) == 2
