"""Ray Data and threads read the same slices to the same bytes, in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

from pipeline.data import ray_ingest
from pipeline.data.assemble import Batch, BatchAssembler, Cursor
from pipeline.data.ingest import Ingest, inline
from pipeline.data.manifest import load_manifest
from pipeline.data.slice_reader import SliceReader
from pipeline.data.streams import StreamPlan, slices
from pipeline.views.parameters import ImageViews


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def batches(shards: Path, read: Ingest, *, total_steps: int) -> list[Batch]:
    plan = StreamPlan(
        seed=3,
        samples=load_manifest(shards).samples,
        streams=4,
        global_batch=24,
        shuffle_window=64,
    )
    reader = SliceReader(manifest=str(shards), plan=plan, views=ImageViews(size=16))
    cursors = {stream: Cursor() for stream in range(4)}
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=total_steps)
    pieces = slices(
        plan,
        positions=dict.fromkeys(range(4), 0),
        step=0,
        total_steps=total_steps,
        batches_per_slice=3,
    )
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
        assert np.array_equal(one.views, other.views)
