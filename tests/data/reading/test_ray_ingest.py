"""Ray Data and threads read the same slices to the same bytes, in the same order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
from ray.data._internal.execution.interfaces import PhysicalOperator
from ray.data._internal.execution.operators.map_operator import MapOperator

from pipeline.data.order.exclusion import NOTHING, Exclusion, load_exclusion
from pipeline.data.order.slices import Slice, slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading import ray_ingest
from pipeline.data.reading.activity import Activity
from pipeline.data.reading.ahead import slices_ahead
from pipeline.data.reading.assemble import Batch, BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import Ingest, inline
from pipeline.data.reading.read_ahead import ReadAhead
from pipeline.data.reading.reading_nodes import NodeShare
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.manifest import load_manifest
from pipeline.views.parameters import ImageViews, LocalViews

VIEWS = ImageViews(size=16, local=LocalViews(count=2, size=8))


def reader_and_slices(
    shards: Path, *, total_steps: int, excluded: Exclusion = NOTHING
) -> tuple[SliceReader, Iterator[Slice]]:
    plan = StreamPlan(
        seed=3,
        samples=load_manifest(shards).samples,
        streams=4,
        global_batch=24,
        shuffle_window=64,
        excluded=excluded,
    )
    reader = SliceReader(manifests=(str(shards),), plan=plan, views=VIEWS)
    pieces = slices(
        plan,
        positions=dict.fromkeys(range(4), 0),
        step=0,
        total_steps=total_steps,
        per_stream=3 * plan.per_batch,
    )
    return reader, pieces


def batches(
    shards: Path, read: Ingest, *, total_steps: int, excluded: Exclusion = NOTHING
) -> list[Batch]:
    reader, pieces = reader_and_slices(shards, total_steps=total_steps, excluded=excluded)
    cursors = {stream: Cursor() for stream in range(4)}
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=total_steps)
    return list(assembler.batches(read(reader, pieces, cpus=2)))


@pytest.mark.usefixtures("local_ray")
def test_both_ingests_give_bitwise_the_same_batches(
    clipart_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over three epochs, and over the seams between one Ray data set and the next."""
    monkeypatch.setattr(ray_ingest, "_SLICES_PER_DATASET", 5)
    by_ray = batches(clipart_shards / "train", ray_ingest.ray_data, total_steps=28)
    by_threads = batches(clipart_shards / "train", inline, total_steps=28)
    assert len(by_ray) == len(by_threads) == 28
    for one, other in zip(by_ray, by_threads, strict=True):
        assert np.array_equal(one.sample_id, other.sample_id)
        assert len(one.views) == len(other.views) == 2
        for block, same in zip(one.views, other.views, strict=True):
            assert np.array_equal(block, same)


@pytest.mark.usefixtures("local_ray")
def test_both_ingests_leave_out_the_same_samples(clipart_shards: Path, tmp_path: Path) -> None:
    """Read tasks get no ids, but where to read them."""
    bad = tmp_path / "bad.txt"
    bad.write_text("\n".join(map(str, [0, 3, *range(65, 75), 239])))
    excluded = load_exclusion(str(bad))
    by_ray, by_threads = (
        batches(clipart_shards / "train", read, total_steps=12, excluded=excluded)
        for read in (ray_ingest.ray_data, inline)
    )
    assert len(by_ray) == len(by_threads) == 12
    for one, other in zip(by_ray, by_threads, strict=True):
        assert np.array_equal(one.sample_id, other.sample_id)
        assert not np.isin(one.sample_id, excluded.ids).any()
        for block, same in zip(one.views, other.views, strict=True):
            assert np.array_equal(block, same)


@pytest.mark.usefixtures("local_ray")
def test_a_worker_that_does_not_ask_is_read_ahead_a_few_slices_by_an_executor_that_rests(
    clipart_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own policies bound bytes but turn without a pause, in the training process."""
    submitted: list[int] = []

    class Watched(ReadAhead):
        def can_add_input(self, op: PhysicalOperator) -> bool:
            if isinstance(op, MapOperator):
                submitted.append(op.metrics.num_tasks_submitted)
            return super().can_add_input(op)

    monkeypatch.setattr(ray_ingest, "ReadAhead", Watched)
    reader, pieces = reader_and_slices(clipart_shards / "train", total_steps=120)
    tables = ray_ingest.ray_data(reader, pieces, cpus=2)
    next(tables)
    time.sleep(5)  # long enough to read them all, if nothing held the tasks back
    turns = len(submitted)
    time.sleep(2)
    assert len(submitted) - turns <= 2 / 0.05 + 1
    assert submitted[-1] <= slices_ahead(2), submitted
    assert len(list(tables)) == 47
    assert submitted[-1] == 48


@pytest.mark.usefixtures("local_ray")
def test_no_more_tasks_read_at_a_time_than_there_are_cpus(
    clipart_shards: Path, tmp_path: Path
) -> None:
    """Though one more is submitted, so that no CPU idles between two."""
    log = tmp_path / "log"
    log.touch()
    reader, pieces = reader_and_slices(clipart_shards / "train", total_steps=60)
    noting = NotingReader(**vars(reader), log=str(log))
    assert len(list(ray_ingest.ray_data(noting, pieces, cpus=1))) == 24
    lines = log.read_text().splitlines()
    assert lines == ["begins", "ends"] * 24


@pytest.mark.usefixtures("local_ray")
def test_nodes_that_share_a_workers_streams_give_bitwise_the_same_batches_also_from_the_middle(
    clipart_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_ingest, "_SLICES_PER_DATASET", 30)
    shards = clipart_shards / "train"
    here = ray.get_runtime_context().get_node_id()
    nodes = [NodeShare(None, 0.5, (2,)), NodeShare(here, 0.5, (0, 1)), NodeShare(here, 1, (3,))]
    whole = batches(shards, inline, total_steps=28)
    activity = Activity()
    reader, _ = reader_and_slices(shards, total_steps=28)
    for first in (0, 13):
        cursors = {stream: Cursor() for stream in range(4)}
        before = BatchAssembler(reader, cursors=cursors, step=0, total_steps=28)
        for _ in islice(before.batches(inline(reader, rest_of(reader, cursors, 0), cpus=1)), first):
            pass
        after = BatchAssembler(reader, cursors=cursors, step=first, total_steps=28)
        pieces = rest_of(reader, cursors, first)
        tables = ray_ingest.ray_data(reader, pieces, cpus=2, nodes=nodes, activity=activity)
        found = list(after.batches(tables))
        assert len(found) == 28 - first
        for one, other in zip(found, whole[first:], strict=True):
            assert np.array_equal(one.sample_id, other.sample_id)
            for block, same in zip(one.views, other.views, strict=True):
                assert np.array_equal(block, same)
    assert activity.bytes_from_other_nodes == 0


def rest_of(reader: SliceReader, cursors: dict[int, Cursor], step: int) -> Iterator[Slice]:
    positions = {stream: cursor.position for stream, cursor in cursors.items()}
    return slices(reader.plan, positions=positions, step=step, total_steps=28, per_stream=4)


@dataclass(frozen=True, kw_only=True)
class NotingReader(SliceReader):
    log: str

    def read(self, piece: Slice) -> pa.Table:
        self._note("begins")
        time.sleep(0.02)
        table = super().read(piece)
        self._note("ends")
        return table

    def _note(self, word: str) -> None:
        with open(self.log, "a") as file:  # noqa: PTH123
            file.write(f"{word}\n")
