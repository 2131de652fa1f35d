"""Batches depend on the plan and on which bytes are bad, never on workers, slices, formats or
restarts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.decode import decode_image, encode_png
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.accounting import Account
from pipeline.data.reading.assemble import Batch, BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import (
    inline,
)
from pipeline.data.reading.slice_reader import SliceReader, UnreadableShardError
from pipeline.data.sources.convert import shard
from pipeline.views.opencv import render_views
from pipeline.views.parameters import ImageViews, LocalViews

pytestmark = pytest.mark.fast

BATCH = 20
FULL = ImageViews(size=8, count=2, blur=0.5, solarize=0.2)
MANY = FULL.model_copy(update={"local": LocalViews(count=3, size=4)})
LIGHT = ImageViews(size=4, count=1, jitter=0.0)
PLAN = StreamPlan(seed=3, samples=90, streams=4, global_batch=BATCH, shuffle_window=16)


@pytest.fixture(scope="module")
def spoilt(
    noise_shards: Path, spoil: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    bad = (0, 3, 22, 23, 24, 41, 60, 77, 89)
    return spoil(noise_shards / "tar", tmp_path_factory.mktemp("spoilt"), bad)


def reader_of(folder: Path, views: ImageViews = LIGHT, plan: StreamPlan = PLAN) -> SliceReader:
    return SliceReader(manifests=(str(folder),), plan=plan, views=views)


@dataclass
class Run:
    """What a run served, its workers' shares joined in rank order, and how it ended."""

    ids: list[list[int]]
    views: list[tuple[bytes, ...]]  # a block for each crop size
    epochs: list[int]
    state: dict[str, Any] = field(default_factory=dict)
    account: Account = field(default_factory=Account)


def run(
    reader: SliceReader,
    *,
    total: int,
    workers: int = 1,
    k: int = 7,
    step: int = 0,
    stop: int | None = None,
    state: dict[str, Any] | None = None,
) -> Run:
    """Batches `step` … `stop` of a run of `total`, from the cursors in `state`.

    Args:
        k: positions of each stream in a slice; a batch has five.
    """
    shares: list[list[Batch]] = []
    ended: dict[str, Any] = {}
    account = Account()
    for rank in range(workers):
        cursors = {
            stream: Cursor.from_dict(state[str(stream)]) if state else Cursor()
            for stream in reader.plan.streams_of(rank, workers)
        }
        positions = {stream: cursor.position for stream, cursor in cursors.items()}
        assembler = BatchAssembler(reader, cursors=cursors, step=step, total_steps=total)
        pieces = slices(
            reader.plan, positions=positions, step=step, total_steps=total, per_stream=k
        )
        batches = assembler.batches(inline(reader, pieces, cpus=2))
        wanted = (total if stop is None else stop) - step
        shares.append([batch for _, batch in zip(range(wanted), batches, strict=False)])
        ended |= json.loads(json.dumps(assembler.state()))
        account += assembler.account()
    joined = list(zip(*shares, strict=True))
    return Run(
        ids=[np.concatenate([batch.sample_id for batch in parts]).tolist() for parts in joined],
        views=[
            tuple(
                b"".join(block.tobytes() for block in blocks)
                for blocks in zip(*(batch.views for batch in parts), strict=True)
            )
            for parts in joined
        ],
        epochs=[parts[0].epoch for parts in joined],
        state=ended,
        account=account,
    )


@cache
def undisturbed(folder: Path) -> Run:
    return run(reader_of(folder), total=6, k=1)


@pytest.mark.parametrize("config", [FULL, MANY])
def test_a_batch_holds_the_decoded_and_rendered_samples_of_its_ids(
    noise_shards: Path, config: ImageViews
) -> None:
    reader = reader_of(noise_shards / "tar", config)
    whole = run(reader, total=5)
    with reader.open_shards() as files:
        for ids, views, epoch in zip(whole.ids, whole.views, whole.epochs, strict=True):
            sample_ids = np.array(ids)
            images = {row: (decode_image(data),) for row, data in enumerate(files.read(sample_ids))}
            rows = np.zeros((len(ids), config.row_bytes), dtype=np.uint8)
            render_views(images, rows, config=config, seed=3, epoch=epoch, sample_ids=sample_ids)
            rendered = config.split(rows)
            assert [block.shape[1:] for block in rendered] == list(config.shapes)
            assert tuple(block.tobytes() for block in rendered) == views


def test_batches_are_bitwise_equal_for_any_workers_slices_and_format(noise_shards: Path) -> None:
    whole = run(reader_of(noise_shards / "tar", MANY), total=6, k=1)
    assert whole.epochs == [0, 0, 0, 0, 1, 1]
    assert whole.ids[:2] != whole.ids[4:]
    for kind, workers, k in (("tar", 2, 1), ("tar", 4, 3), ("parquet", 1, 100), ("parquet", 4, 2)):
        assert run(reader_of(noise_shards / kind, MANY), total=6, workers=workers, k=k) == whole


def test_bad_samples_are_replaced_alike_for_any_workers_and_slices(spoilt: Path) -> None:
    for workers, k in ((2, 1), (4, 2), (1, 3), (1, 100)):
        found = run(reader_of(spoilt), total=6, workers=workers, k=k)
        assert found == undisturbed(spoilt)


def test_images_of_different_sizes_share_a_batch(tmp_path: Path, clipart: Path) -> None:
    images = np.load(clipart)["x"][:24]
    (tmp_path / "src").mkdir()
    for number, image in enumerate(images):
        part = encode_png(image[: 1 + number, : 32 - number])
        (tmp_path / "src" / f"{number}.png").write_bytes(part)
    shard(tmp_path / "src", tmp_path / "out", samples_per_shard=24)
    plan = StreamPlan(seed=0, samples=24, streams=2, global_batch=24, shuffle_window=8)
    found = run(reader_of(tmp_path / "out", FULL, plan), total=2, workers=2)
    assert [sorted(ids) for ids in found.ids] == [list(range(24))] * 2


@settings(max_examples=12, deadline=None)
@given(
    stop=st.integers(0, 6),
    k=st.integers(1, 13),
    workers=st.sampled_from([(1, 1), (1, 4), (4, 2), (2, 1)]),
    bad=st.booleans(),
)
def test_a_run_that_was_cut_goes_on_bitwise_the_same_with_any_workers(
    noise_shards: Path, spoilt: Path, stop: int, k: int, workers: tuple[int, int], bad: bool
) -> None:
    folder = spoilt if bad else noise_shards / "tar"
    reader, whole = reader_of(folder), undisturbed(folder)
    first = run(reader, total=6, stop=stop, workers=workers[0], k=3)
    rest = run(reader, total=6, step=stop, state=first.state, workers=workers[1], k=k)
    assert first.ids + rest.ids == whole.ids
    assert first.views + rest.views == whole.views
    assert first.epochs + rest.epochs == whole.epochs
    assert rest.state == whole.state
    assert rest.account == whole.account


def test_a_run_cut_after_every_batch_serves_the_same(spoilt: Path) -> None:
    reader, state = reader_of(spoilt), None
    for step in range(6):
        one = run(reader, total=6, step=step, stop=step + 1, state=state, k=4)
        assert one.ids == [undisturbed(spoilt).ids[step]]
        assert one.views == [undisturbed(spoilt).views[step]]
        state = one.state
    assert state == undisturbed(spoilt).state


def test_a_longer_run_begins_like_a_shorter_one(spoilt: Path) -> None:
    shorter = run(reader_of(spoilt), total=3)
    assert shorter.ids == undisturbed(spoilt).ids[:3]
    assert shorter.views == undisturbed(spoilt).views[:3]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_missing_shard_is_an_io_error_and_no_sample_is_blamed(
    noise_shards: Path, tmp_path: Path, kind: str
) -> None:
    shutil.copytree(noise_shards / kind, tmp_path, dirs_exist_ok=True)
    (tmp_path / f"shard-000002.{kind}").unlink()
    with pytest.raises(UnreadableShardError, match="shard-000002"):
        run(reader_of(tmp_path), total=4)
