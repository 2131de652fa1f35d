"""Evaluations as tasks of a real Ray: where they run, and what becomes of those that cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray

from pipeline.evaluation.snapshot import Evaluation
from pipeline.training import evaluation_task
from pipeline.training.evaluation_task import bytes_to_evaluate, fit_aside


@pytest.fixture
def snapshot(local_ray: None, tmp_path: Path) -> Path:
    """A file that stands for one."""
    path = tmp_path / "0000000001.safetensors"
    path.write_bytes(bytes(1 << 20))
    return path


def test_an_evaluation_asks_for_its_memory_and_for_no_cpu(snapshot: Path) -> None:
    def fit(location: str) -> Evaluation:
        got = ray.get_runtime_context().get_assigned_resources()
        return Evaluation({"size": Path(location).stat().st_size, **got}, {"a": [0.0, 1.0]})

    metrics, intervals, note = fit_aside(fit, str(snapshot))
    assert metrics == {"size": 1 << 20, "memory": bytes_to_evaluate(1 << 20)}
    assert intervals == {"a": [0.0, 1.0]}
    assert note == ""


def test_what_no_node_has_memory_for_is_tried_and_told(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_task, "_PROCESS_BYTES", 1 << 50)
    found = fit_aside(lambda location: Evaluation({"a": 1.0}, {}), str(snapshot))
    assert found.metrics == {"a": 1.0}
    assert f"some {(1 << 30) + 5} MiB to evaluate" in found.note  # five times the snapshot


def test_a_process_that_is_lost_is_replaced_but_a_failure_is_told(snapshot: Path) -> None:
    tried = snapshot.with_name("tried")

    def lost_once(location: str) -> Evaluation:
        if not tried.exists():
            tried.touch()
            os._exit(1)
        return Evaluation({"a": 1.0}, {})

    assert fit_aside(lost_once, str(snapshot)).metrics == {"a": 1.0}

    def failing(location: str) -> Evaluation:
        raise FileNotFoundError(location)

    with pytest.raises(FileNotFoundError):
        fit_aside(failing, str(snapshot))
