"""A run whose folder is in an object store: a real S3 server on loopback."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from pipeline.data import storage
from pipeline.data.reading import ingest
from pipeline.data.reading.accounting import LEDGER_SCHEMA
from pipeline.registry.journal import Journal, JournalTail, records
from pipeline.registry.line_log import open_log, reader_of
from pipeline.runs.checkpoint import CheckpointStore
from pipeline.runs.folder import RunFolder, fresh_name, read_json, write_json
from pipeline.runs.trace import join_trace
from pipeline.training.loop import TrainingLoop
from tests.training.loops import Crash, crashing_after, recipe_for


@pytest.fixture
def runs(object_store: str, request: pytest.FixtureRequest) -> str:
    """An empty folder of the store."""
    return f"s3://runs/{request.node.name}?{object_store}"


def loop_for(shards: Path, location: str, read: ingest.Ingest = ingest.inline) -> TrainingLoop:
    return TrainingLoop(
        recipe=recipe_for(shards / "train", train={"trace": "joined by the test"}),
        folder=RunFolder(location),
        device=torch.device("cpu"),
        ingest=read,
    )


def metrics_of(location: str) -> list[tuple[int, float]]:
    found = [r for r in records(RunFolder(location).journal) if r["kind"] == "metrics"]
    return [(record["step"], record["metrics"]["loss"]) for record in found]


def test_a_run_in_a_store_that_crashed_ends_as_the_undisturbed_one_on_disk(
    clipart_shards: Path, tmp_path: Path, runs: str
) -> None:
    undisturbed = loop_for(clipart_shards, str(tmp_path / "run"))
    undisturbed.run()
    with pytest.raises(Crash):
        loop_for(clipart_shards, storage.join(runs, "run"), crashing_after(1)).run()
    resumed = loop_for(clipart_shards, storage.join(runs, "run"))
    resumed.run()
    for name, value in undisturbed.learner.encoder.state_dict().items():
        assert torch.equal(value, resumed.learner.encoder.state_dict()[name])
    assert metrics_of(str(tmp_path / "run")) == metrics_of(storage.join(runs, "run"))
    folder = RunFolder(storage.join(runs, "run"))
    join_trace(folder.trace, tmp_path / "stored.parquet")
    join_trace(str(tmp_path / "run" / "trace"), tmp_path / "local.parquet")
    assert pq.read_table(tmp_path / "stored.parquet").equals(
        pq.read_table(tmp_path / "local.parquet")
    )
    ledger = pq.read_table(io.BytesIO(storage.read_file(folder.ledger)))
    assert ledger.schema == LEDGER_SCHEMA


class Part:
    """A state that is its step."""

    step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "weights": torch.full((1000,), self.step)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


def test_a_damaged_checkpoint_in_a_store_is_passed_over_and_then_replaced(runs: str) -> None:
    part, store = Part(), CheckpointStore(runs, keep=2)
    store.register("part", part)
    for part.step in (1, 2, 3):
        store.save(part.step, metrics={})
    store.wait()
    kept = {storage.file_name(storage.parent(file)) for file in storage.list_files(runs)}
    assert kept == {"step-0000000002", "step-0000000003"}
    storage.write_file(storage.join(runs, "step-0000000003/part.safetensors"), b"damaged")
    assert store.newest() == 2
    store.load(2)
    assert part.step == 2
    part.step = 3
    store.save(3, metrics={})
    store.wait()
    assert store.newest() == 3


def test_a_log_in_a_store_is_followed_line_by_line_over_many_parts(runs: str) -> None:
    location = storage.join(runs, "log")
    reader = reader_of(location)
    assert reader.read() == []
    lines, read = [f"{number} {'x' * 5000}" for number in range(120)], []
    for first in range(0, 120, 40):  # by three processes, one after the other
        log = open_log(location)
        for line in lines[first : first + 40]:
            log.append(line)
        log.flush()
        read += reader.read()
    assert read == [line.encode() for line in lines]
    assert len(storage.list_files(runs)) > 1
    assert reader.read() == []


def test_a_journal_waits_for_a_store_that_fails_and_loses_nothing(
    runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = storage.join(runs, "journal.jsonl")
    journal = Journal(location)
    journal.metrics(1, {"loss": 1.0})
    journal.flush()
    put, failing = storage.write_file, [True]

    def sometimes(*arguments: Any, **settings: Any) -> None:
        if failing[0]:
            raise OSError("the store is away")
        put(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_file", sometimes)
        for step in (2, 3):
            assert journal.metrics(step, {"loss": float(step)})
        with pytest.raises(OSError, match="the store is away"):
            journal.flush()
        failing[0] = False
        journal.flush()
    steps = [record["step"] for record in JournalTail(location).read()]
    assert steps == [1, 2, 3]
    assert not Journal(location).metrics(3, {})


def test_names_locks_and_facts_of_a_run_in_a_store(runs: str) -> None:
    assert fresh_name(runs, "run") == "run"
    folder = RunFolder(storage.join(runs, "run"))
    with folder.locked():
        write_json(folder.identity, {"run_id": "7"})
    assert read_json(folder.identity) == {"run_id": "7"}
    assert fresh_name(runs, "run") == "run-2"
