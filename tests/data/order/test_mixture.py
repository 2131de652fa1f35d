"""Several manifests in one run: each has streams of its own, in proportion to its weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.decode import decode_image
from pipeline.data.order.corpus import SOURCE_STRIDE, load_corpus
from pipeline.data.order.slices import slices
from pipeline.data.order.stream_problems import problems_of_sources
from pipeline.data.order.streams import StreamPlan, divide_streams
from pipeline.data.reading.assemble import BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import inline
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.convert import shard
from pipeline.data.sources.manifest import load_manifest
from pipeline.data.sources.verify import verify
from pipeline.views.parameters import ImageViews

pytestmark = pytest.mark.fast


def pictures(folder: Path, name: str, count: int, value: int) -> Path:
    """Shards of grey pictures of one value, so that a sample shows where it comes from."""
    np.savez(folder / f"{name}.npz", x=np.full((count, 4, 4), value, np.uint8))
    shard(
        folder / f"{name}.npz",
        folder / name,
        kind="tar",
        samples_per_shard=20,
        test_fraction=0.0,
        seed=0,
    )
    return folder / name


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
    spare=st.integers(0, 40),
)
def test_streams_follow_the_weights(weights: list[float], spare: int) -> None:
    streams = len(weights) + spare
    counts = divide_streams(streams, weights)
    assert sum(counts) == streams
    assert min(counts) >= 1
    shares = [streams * weight / sum(weights) for weight in weights]
    if all(share >= 1 for share in shares):
        assert all(abs(c - share) < 1 for c, share in zip(counts, shares, strict=True))


def test_every_batch_has_each_manifests_share_and_the_account_holds(tmp_path: Path) -> None:
    large, small = (pictures(tmp_path, n, c, v) for n, c, v in (("a", 90, 10), ("b", 30, 200)))
    plan = StreamPlan(
        seed=0,
        samples=120,
        streams=4,
        global_batch=24,
        shuffle_window=16,
        sources=((90, 2), (30, 2)),
    )
    assert problems_of_sources(plan) == []
    assert (plan.steps_per_epoch, plan.dropped_tail, plan.repeated) == (5, 30, 30)
    reader = SliceReader(
        manifests=(str(large), str(small)), plan=plan, views=ImageViews(size=4, count=1, jitter=0)
    )
    positions = dict.fromkeys(range(4), 0)
    pieces = slices(
        plan, positions=positions, step=0, total_steps=10, per_stream=2 * plan.per_batch
    )
    assembler = BatchAssembler(
        reader, cursors={s: Cursor() for s in positions}, step=0, total_steps=10
    )
    seen = []
    for batch in assembler.batches(inline(reader, pieces, cpus=1)):
        values = batch.views[0][:, 0, 0, 0, 0]
        assert np.array_equal(values, [10] * 12 + [200] * 12)
        assert np.array_equal(batch.sample_id >= SOURCE_STRIDE, values == 200)
        seen.append(batch.sample_id)
    first_epoch = np.concatenate(seen[:5])
    of_small = first_epoch[first_epoch >= SOURCE_STRIDE] - SOURCE_STRIDE
    assert np.bincount(of_small, minlength=30).tolist() == [2] * 30
    account = assembler.account()
    assert (account.planned, account.served) == (240, 240)
    assert (account.repeated, account.dropped) == (60, 60)


def test_a_manifest_too_small_for_its_weight_is_named() -> None:
    plan = StreamPlan(
        seed=0, samples=40, streams=4, global_batch=24, shuffle_window=8, sources=((35, 1), (5, 3))
    )
    (problem,) = problems_of_sources(plan)
    assert problem.where == "data.shards[1]"


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_appending_keeps_ids_and_adds_classes_at_the_end(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    for name, labels in (("old", ["dog", "fox"] * 20), ("new", ["ant", "fox"] * 15)):
        images = rng.integers(0, 256, (len(labels), 3, 3, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", x=images, y=np.array(labels))
    options: dict[str, Any] = {
        "kind": kind,
        "samples_per_shard": 25,
        "labels": "y",
        "images": "x",
    }
    folder = tmp_path / "shards"
    shard(tmp_path / "old.npz", folder, **options)

    def contents() -> list[bytes]:
        reader = SliceReader(
            manifests=(str(folder),),
            plan=StreamPlan(seed=0, samples=1, streams=1, global_batch=1, shuffle_window=1),
            views=ImageViews(),
        )
        load_corpus.cache_clear()
        with reader.open_shards() as shards:
            found = shards.read(np.arange(load_manifest(folder).samples))
        return [decode_image(data).tobytes() for data in found]

    before = contents()
    shard(tmp_path / "new.npz", folder, append=True, **options)
    manifest = load_manifest(folder)
    assert contents()[:40] == before
    assert sorted(contents()[40:]) == sorted(
        np.load(tmp_path / "new.npz")["x"][i].tobytes() for i in range(30)
    )
    assert manifest.classes == ("dog", "fox", "ant")
    assert manifest.labelled
    assert [part.samples for part in manifest.shards] == [25, 15, 25, 5]
    assert verify(folder) == []
