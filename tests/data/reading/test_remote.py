"""Shards on an object store: a real S3 server on loopback, real requests."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from pipeline.data import storage
from pipeline.data.order.exclusion import NOTHING, Exclusion
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading import shard_cache
from pipeline.data.reading.assemble import Batch, BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import Ingest, inline
from pipeline.data.reading.ray_ingest import ray_data
from pipeline.data.reading.shard_cache import ShardCache, merge, split, subtract
from pipeline.data.reading.slice_reader import SliceReader, stream_order
from pipeline.data.sources.convert import shard
from pipeline.data.sources.foreign_shards import Fields
from pipeline.data.sources.indexing import index_shards
from pipeline.data.sources.manifest import load_manifest
from pipeline.data.sources.verify import verify
from pipeline.errors import UserError
from pipeline.views.parameters import ImageViews


@pytest.fixture(scope="module")
def local(clipart: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures in `tar` and in `parquet` shards of 60."""
    folder = tmp_path_factory.mktemp("local")
    for kind in ("tar", "parquet"):
        shard(
            clipart,
            folder / kind,
            labels="y",
            images="x",
            kind=kind,
            samples_per_shard=60,
            test_fraction=0.0,
            seed=0,
        )
    return folder


def upload(folder: Path, location: str) -> str:
    for file in folder.iterdir():
        storage.write_file(storage.join(location, file.name), file.read_bytes())
    return location


@pytest.fixture(scope="module", params=["tar", "parquet"])
def remote(request: pytest.FixtureRequest, object_store: str, local: Path) -> tuple[Path, str]:
    """A local folder, and the same on the server."""
    return local / request.param, upload(
        local / request.param, f"s3://data/{request.param}?{object_store}"
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"shard-cache-{os.getuid()}"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each ranged request made in this process."""
    sizes: list[int] = []
    read_range = storage.read_range

    def counted(location: str, start: int, stop: int) -> bytes:
        data = read_range(location, start, stop)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(storage, "read_range", counted)
    return sizes


def batches(
    location: str,
    read: Ingest,
    *,
    steps: int,
    cache_bytes: int = 1 << 30,
    excluded: Exclusion = NOTHING,
) -> list[Batch]:
    plan = StreamPlan(
        seed=1, samples=300, streams=2, global_batch=50, shuffle_window=64, excluded=excluded
    )
    reader = SliceReader(
        manifests=(location,), plan=plan, views=ImageViews(size=8), cache_bytes=cache_bytes
    )
    pieces = slices(
        plan, positions={0: 0, 1: 0}, step=0, total_steps=steps, per_stream=plan.per_batch
    )
    cursors = {0: Cursor(), 1: Cursor()}
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=steps)
    return list(assembler.batches(read(reader, pieces, cpus=2)))


def same(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        np.array_equal(one.sample_id, other.sample_id)
        and np.array_equal(one.views[0], other.views[0])
        for one, other in zip(some, others, strict=True)
    )


def test_remote_shards_give_the_local_batches(remote: tuple[Path, str]) -> None:
    folder, location = remote
    assert verify(location) == []
    assert load_manifest(location) == load_manifest(folder)
    assert same(batches(location, inline, steps=8), batches(str(folder), inline, steps=8))


def test_excluded_shards_are_not_fetched_and_the_others_give_the_local_batches(
    remote: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, location = remote
    first, second, *_ = load_manifest(folder).shards
    excluded = Exclusion([*range(second.first_id), 150, 151, 299])
    asked: list[str] = []
    read_range = storage.read_range

    def noted(location: str, start: int, stop: int) -> bytes:
        asked.append(location.partition("?")[0])
        return read_range(location, start, stop)

    monkeypatch.setattr(storage, "read_range", noted)
    found = batches(location, inline, steps=6, excluded=excluded)
    assert any(name.endswith(second.path) for name in asked)
    assert not any(name.endswith(first.path) for name in asked)
    assert same(found, batches(str(folder), inline, steps=6, excluded=excluded))
    assert not any(np.isin(batch.sample_id, excluded.ids).any() for batch in found)


@pytest.mark.usefixtures("local_ray")
def test_by_ray_too(remote: tuple[Path, str]) -> None:
    folder, location = remote
    assert same(batches(location, ray_data, steps=4), batches(str(folder), inline, steps=4))


def test_a_window_is_fetched_while_the_one_before_it_is_read(
    remote: tuple[Path, str], fetched: list[int]
) -> None:
    _, location = remote
    plan = StreamPlan(seed=1, samples=300, streams=2, global_batch=50, shuffle_window=50)
    reader = SliceReader(manifests=(location,), plan=plan, views=ImageViews(size=8))
    pieces = slices(plan, positions={0: 0, 1: 0}, step=0, total_steps=2, per_stream=plan.per_batch)
    for piece in pieces:  # two slices make a window
        reader.read(piece)
    assert fetched
    fetched.clear()
    with reader.open_shards() as shards:
        for stream in (0, 1):
            order = stream_order(plan, (location,), 0, stream)
            shards.fetch(shards.requests(order.pieces(50, 100)))
            shards.read(order.ids(50, 100))
    assert fetched == []


def test_no_byte_is_fetched_twice_and_none_one_sample_at_a_time(
    remote: tuple[Path, str], fetched: list[int]
) -> None:
    folder, location = remote
    shards = load_manifest(folder).shards
    batches(location, inline, steps=18)  # three epochs
    assert sum(fetched) <= 1.2 * sum(shard.bytes for shard in shards)
    assert len(fetched) < 300 / 4


def test_the_cache_keeps_to_its_bound(
    remote: tuple[Path, str], own_cache: Path, fetched: list[int]
) -> None:
    folder, location = remote
    bound = 1 << 16
    whole = batches(str(folder), inline, steps=6)
    assert same(batches(location, inline, steps=6, cache_bytes=bound), whole)
    kept = [path.stat().st_blocks * 512 for path in own_cache.glob("*.copy")]
    largest = max(shard.bytes for shard in load_manifest(folder).shards)
    assert sum(kept) <= bound + largest


def test_the_cache_keeps_to_its_bound_when_many_fetch_at_once(
    tmp_path: Path, object_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, shards = 64 << 10, 12
    data = np.random.default_rng(0).bytes(size)
    for number in range(shards):
        storage.write_file(f"s3://data/many-{number}?{object_store}", data)

    all_have_read, read_range = Barrier(shards), storage.read_range

    def at_once(location: str, start: int, stop: int) -> bytes:
        read = read_range(location, start, stop)
        all_have_read.wait(timeout=60)
        return read

    monkeypatch.setattr(storage, "read_range", at_once)

    def fetch(number: int) -> None:
        cache = ShardCache(capacity=2 * size, folder=tmp_path / "cache")
        with cache.open(
            f"s3://data/many-{number}?{object_store}", version="1", ranges=[(0, size)]
        ) as at:
            assert os.pread(at, size, 0) == data

    with ThreadPoolExecutor(shards) as pool:
        list(pool.map(fetch, range(shards)))
    kept = [path.stat().st_blocks * 512 for path in (tmp_path / "cache").glob("*.copy")]
    assert sum(kept) <= 3 * size


def test_shards_on_a_store_are_indexed_there(
    local: Path, object_store: str, local_ray: None
) -> None:
    for file in (local / "tar").glob("*.tar"):
        storage.write_file(f"s3://data/foreign/{file.name}?{object_store}", file.read_bytes())
    result = index_shards(
        f"s3://data/foreign?{object_store}",
        f"s3://made/of-them?{object_store}",
        fields=Fields(),
        progress=lambda count: None,
    )
    assert result.manifest.samples == 300
    assert verify(f"s3://made/of-them?{object_store}") == []
    made = batches(f"s3://made/of-them?{object_store}", inline, steps=4)
    assert same(made, batches(str(local / "tar"), inline, steps=4))


def test_a_manifest_that_is_not_there_is_the_users_mistake(object_store: str) -> None:
    for location in (
        f"s3://data/absent?{object_store}",
        f"s3://nobucket/x?{object_store}",
        "nonsense://x/y",
    ):
        with pytest.raises(UserError):
            load_manifest(location)


def test_a_failing_store_is_asked_again_and_a_missing_file_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage, "_FIRST_PAUSE_SECONDS", 0.001)
    asked = []

    def fails(times: int, error: OSError) -> str:
        asked.append(1)
        if len(asked) <= times:
            raise error
        return "there"

    assert storage.retrying(lambda: fails(3, OSError("slow down"))) == "there"
    asked.clear()
    with pytest.raises(OSError, match="slow down"):
        storage.retrying(lambda: fails(9, OSError("slow down")))
    assert len(asked) == 4
    asked.clear()
    with pytest.raises(FileNotFoundError):
        storage.retrying(lambda: fails(9, FileNotFoundError()))
    assert len(asked) == 1


def test_ranges_are_merged_subtracted_and_split() -> None:
    assert merge([(5, 9), (0, 3), (2, 4), (20, 20)], bridge=1) == [(0, 9)]
    assert merge([(5, 9), (0, 3)], bridge=0) == [(0, 3), (5, 9)]
    assert subtract([(0, 10), (20, 30)], [(2, 4), (8, 22)]) == [(0, 2), (4, 8), (22, 30)]
    assert subtract([(0, 10)], []) == [(0, 10)]
    parts = list(split([(3, 3 + (40 << 20))]))
    assert parts[0][0] == 3
    assert parts[-1][1] == 3 + (40 << 20)
    assert {stop - start > 8 << 20 for start, stop in parts} == {True}


def test_two_processes_of_a_node_share_a_copy(
    tmp_path: Path, object_store: str, fetched: list[int]
) -> None:
    location = f"s3://data/blob?{object_store}"
    data = np.random.default_rng(0).bytes(1 << 20)
    storage.write_file(location, data)
    for _ in range(2):
        cache = ShardCache(capacity=1 << 30, folder=tmp_path / "cache")
        with cache.open(location, version="1", ranges=[(1000, 5000)]) as file:
            assert os.pread(file, 4000, 1000) == data[1000:5000]
    assert fetched == [4000]
    with cache.open(location, version="2", ranges=[(0, 10)]) as file:
        assert os.pread(file, 10, 0) == data[:10]
    assert shard_cache.merge([], bridge=0) == []
