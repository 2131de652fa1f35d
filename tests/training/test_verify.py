"""`jobs verify` of a run that two workers of Ray Train made, replayed by two workers."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import pipeline
from pipeline.training.driver import Result
from tests.conftest import last_json
from tests.public_names import FILE

Verb = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def finished(
    local_ray: None, clipart_shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Result:
    """A run with snapshots in its last steps, which a replay leaves out."""
    folder = tmp_path_factory.mktemp("verified")
    recipe = {
        "name": "mine",
        "data": {
            "shards": f"{clipart_shards}/train",
            "streams": 4,
            "shuffle_window": 64,
            "ingest": "inline",
        },
        "views": {"size": 16},
        "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
        "objective": {"kind": "simclr", "projector": [16]},
        "train": {
            "steps": 20,  # two epochs
            "global_batch": 24,
            "workers": 2,
            "log_every": 2,
            "device": "cpu",
            "checkpoint": {"every_steps": 8},
        },
        "evaluate": {
            "train": f"{clipart_shards}/train",
            "test": f"{clipart_shards}/test",
            "probes": ["knn"],
            "every": 0.3,
            "snapshot_samples": 20,
            "snapshot_share": 1.0,
        },
        "tracking": {
            "experiment": "verify",
            "register": "mine",
            "storage": str(folder),
            "uri": f"sqlite:///{folder}/mlflow.db",
        },
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        return pipeline.pretrain(recipe)


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_registered_encoder_is_proved_and_nothing_is_touched(
    finished: Result, jobs_here: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runs = Path(finished.folder).parents[1]
    before = digests(runs)
    uri = finished.figures["tracking_uri"]
    done = jobs_here("verify", "models:/mine@candidate", "--tracking-uri", uri, "--json")
    found = last_json(done)
    assert done.returncode == 0, done.stderr
    assert list(found) == json.loads(FILE.read_text())["results"]["verify"]
    assert (found["verdict"], found["tensors_differing"]) == ("proved", [])
    assert (found["from_step"], found["to_step"], found["steps"]) == (16, 20, 4)
    assert (found["workers"], found["run"]) == (2, finished.folder)
    assert (found["max_abs_difference"], found["changes"]) == (0, [])
    assert digests(runs) == before
    assert list(tmp_path.iterdir()) == []


def test_mistakes_end_with_2(finished: Result, jobs_here: Verb) -> None:
    done = jobs_here("verify", finished.folder, "--steps", "5", "--json")
    assert done.returncode == 2
    (error,) = last_json(done)["errors"]
    assert error["where"] == "--steps"
    assert error["message"].endswith(
        "allowed: at most 4, or 20, which replays the run from its start"
    )
