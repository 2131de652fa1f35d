"""A rank that waits says what for, to whoever shows the run, and takes it back."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.data import storage
from pipeline.data.order.slices import Slice, slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.activity import Activity
from pipeline.data.reading.ingest import Ingest, inline
from pipeline.data.reading.ray_ingest import ray_data
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.manifest import load_manifest
from pipeline.registry.journal import Journal, JournalTail
from pipeline.runs.folder import RunFolder
from pipeline.training import progress
from pipeline.training.data_waits import Waiting, WaitsTold
from pipeline.training.progress import showing_progress
from pipeline.views.parameters import ImageViews
from tests.stalling import StallingWay

SHARD = "clipart-stall"


@pytest.fixture
def stalling(object_store: str, clipart_shards: Path) -> Iterator[tuple[StallingWay, str]]:
    """A way to the store, and the pictures' location by it."""
    host, port = object_store.partition("=")[2].partition("&")[0].split(":")
    way = StallingWay((host, int(port)))
    for file in (clipart_shards / "train").iterdir():
        storage.write_file(f"s3://data/{SHARD}/{file.name}?{object_store}", file.read_bytes())
    yield (
        way,
        f"s3://data/{SHARD}?endpoint_override=127.0.0.1:{way.port}&scheme=http&region=us-east-1",
    )
    way.close()


def until(found: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.1)


def read_past_a_stall(
    ingest: Ingest, stalling: tuple[StallingWay, str], folder: RunFolder
) -> tuple[str, int]:
    """What is told while the store stalls, and the rows that come once it goes on."""
    way, location = stalling
    plan = StreamPlan(
        seed=0,
        samples=load_manifest(location).samples,
        streams=2,
        global_batch=20,
        shuffle_window=20,
    )
    # So small a cache that windows are fetched again and again.
    reader = SliceReader(
        manifests=(location,), plan=plan, views=ImageViews(size=8), cache_bytes=1 << 12
    )
    pieces: Iterator[Slice] = slices(
        plan, positions={0: 0, 1: 0}, step=0, total_steps=60, per_stream=plan.per_batch
    )
    activity = Activity()
    waiting = Waiting(folder, rank=3, words=lambda: activity.words(), patience=0.5)
    tables = ingest(reader, pieces, cpus=1, activity=activity)
    next(tables)
    way.stall()
    rows = 0

    def drain() -> None:
        nonlocal rows
        for _ in range(59):
            with waiting.noted():
                rows += len(next(tables))

    drained = threading.Thread(target=drain)
    drained.start()
    told = WaitsTold(folder)
    until(told.read)
    words = told.read()
    way.go_on()
    drained.join()
    until(lambda: told.read() is None)
    waiting.close()
    assert words is not None
    return words, rows


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return RunFolder(str(tmp_path / "run"))


def test_threads_name_the_shard_that_a_stalled_store_does_not_give(
    stalling: tuple[StallingWay, str], folder: RunFolder
) -> None:
    words, rows = read_past_a_stall(inline, stalling, folder)
    assert words.startswith("rank 3 is waiting for data ")
    assert ": reading shard shard-00000" in words
    assert words.endswith("in one of 1 threads (a slow store or disk)")
    assert rows == 59 * 20


@pytest.mark.usefixtures("local_ray")
def test_read_tasks_and_their_node_are_named_while_a_store_stalls(
    stalling: tuple[StallingWay, str], folder: RunFolder
) -> None:
    words, rows = read_past_a_stall(ray_data, stalling, folder)
    assert words.startswith("rank 3 is waiting for data ")
    assert ": 1 read tasks on node " in words
    assert "the oldest for " in words
    assert rows == 59 * 20


def test_the_line_names_what_is_waited_for_until_the_journal_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_QUIET_SECONDS", 0.1)
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", 0.0)
    folder = RunFolder(str(tmp_path / "run"))
    journal = Journal(folder.journal)
    shown = ""

    def sees(text: str) -> bool:
        nonlocal shown
        shown += capfd.readouterr().err
        return text in shown

    with showing_progress(JournalTail(folder.journal), folder):
        waiting = Waiting(folder, rank=0, words=lambda: "a shard", patience=0.0)
        with waiting.noted():
            until(lambda: sees("starting workers  waiting for data 1 s: a shard"))
        waiting.close()
        shown = ""
        journal.event("training", step=0, total_steps=9, workers=[{}])
        journal.flush()
        until(lambda: sees("step 0/9  1 workers\n"))
    assert storage.list_files(folder.waiting) == []


def test_words_that_no_longer_change_are_of_a_worker_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    storage.write_file(
        storage.join(folder.waiting, "rank-0.json"),
        b'{"rank": 0, "seconds": 30, "words": "a shard"}',
    )
    told = WaitsTold(folder)
    assert told.read() == "waiting for data 30 s: a shard"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert told.read() is None
    monkeypatch.undo()
    # The next worker of that rank takes them away.
    Waiting(folder, rank=0, words=str).close()
    assert storage.list_files(folder.waiting) == []
