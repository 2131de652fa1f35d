"""Which nodes read for which rank: never more than they can spare, and near the rank first."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.order.slices import Slice, slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.reading_nodes import NodeShare, divided, joined, parts, reading_nodes

pytestmark = pytest.mark.fast


@given(
    nodes=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    homes=st.lists(st.integers(0, 7), min_size=1, max_size=8),
    cpus=st.floats(0.01, 40),
    streams=st.integers(1, 8),
)
def test_nodes_give_what_they_can_spare_and_ranks_get_what_there_is(
    nodes: list[int], homes: list[int], cpus: float, streams: int
) -> None:
    has = {f"node-{number}": float(count) for number, count in enumerate(nodes)}
    at = [f"node-{home % len(nodes)}" for home in homes]
    found = reading_nodes(has, at, cpus=cpus, streams=streams)
    assert len(found) == len(at)
    spare = {node: max(0.0, count - at.count(node)) for node, count in has.items()}
    for shares in found:
        assert len({node for node, _ in shares}) == len(shares) <= streams
        assert all(share > 0 for _, share in shares)
        assert sum(share for _, share in shares) <= cpus + 0.01
        for node, share in shares:
            spare[node] -= share
    assert all(left > -1e-9 for left in spare.values())
    for shares in found:
        if len(shares) < streams and sum(share for _, share in shares) < cpus - 0.01:
            others = {node for node, _ in shares}
            assert all(left < 0.01 for node, left in spare.items() if node not in others)
    assert found == reading_nodes(dict(reversed(has.items())), at, cpus=cpus, streams=streams)


def test_a_rank_reads_beside_itself_first_and_then_on_nodes_without_trainers() -> None:
    nodes = {"a": 4, "b": 1, "c": 8, "d": 2}
    assert reading_nodes(nodes, ["a", "b"], cpus=3, streams=4) == [[("a", 3)], [("c", 3)]]
    assert reading_nodes(nodes, ["a", "a"], cpus=3, streams=4) == [
        [("d", 2), ("a", 1)],
        [("c", 2), ("a", 1)],
    ]
    assert reading_nodes(nodes, ["b"], cpus=9, streams=4) == [[("c", 8), ("d", 1)]]
    assert reading_nodes({"a": 1}, ["a"], cpus=1, streams=4) == [[]]


def test_four_trainers_without_spare_cpus_get_a_node_each() -> None:
    nodes = {"gpus": 4, **{f"reads-{n}": 2 for n in range(4)}}
    found = reading_nodes(nodes, ["gpus"] * 4, cpus=2, streams=2)
    assert found == [[(f"reads-{n}", 2)] for n in range(4)]


@given(
    cpus=st.lists(st.floats(0.01, 64), min_size=1, max_size=6),
    more=st.integers(0, 30),
    first=st.integers(0, 9),
)
def test_streams_are_divided_in_proportion(cpus: list[float], more: int, first: int) -> None:
    streams = range(first, first + len(cpus) + more)
    shares = divided(streams, [(f"n{number}", count) for number, count in enumerate(cpus)])
    assert [stream for share in shares for stream in share.streams] == list(streams)
    assert all(share.streams for share in shares)
    for share in shares:
        # At most one more than its proportion, but for those that get the one each must have.
        fair = len(streams) * share.cpus / sum(cpus)
        assert len(share.streams) <= max(1, math.ceil(fair) + 1)


def test_without_nodes_nothing_is_divided() -> None:
    assert divided(range(4), []) == []


@given(per_stream=st.integers(1, 7), count=st.integers(1, 9), steps=st.integers(1, 30))
def test_joined_slices_are_those_of_larger_slices(per_stream: int, count: int, steps: int) -> None:
    plan = StreamPlan(seed=0, samples=90, streams=3, global_batch=12, shuffle_window=8)

    def cut(size: int) -> Iterator[Slice]:
        return slices(
            plan, positions={0: 4, 1: 6, 2: 5}, step=1, total_steps=steps, per_stream=size
        )

    assert [*joined(cut(per_stream), count)] == [*cut(per_stream * count)]


def test_a_node_reads_its_streams_of_every_slice() -> None:
    pieces = [Slice(epoch=e, ranges=((4, 0, 3), (5, 1, 4), (6, 2, 5))) for e in range(2)]
    assert [*parts(pieces, NodeShare("n", 1.0, (4, 6)))] == [
        Slice(epoch=e, ranges=((4, 0, 3), (6, 2, 5))) for e in range(2)
    ]
