"""The main job as a person runs it: shard, plan, pretrain, evaluate, fetch, load."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import timm
import torch
import yaml
from mlflow import MlflowClient
from safetensors.torch import load_file

import pipeline
from pipeline.recipe import Recipe
from pipeline.registry.journal import records
from tests.training.loops import serve_by_the_plain_loop

Verb = Callable[..., CompletedProcess[str]]


def recipe_for(shards: Path, storage: Path | str, **train: Any) -> dict[str, Any]:
    return {
        "data": {"shards": str(shards / "train"), "streams": 4, "shuffle_window": 64},
        "views": {"size": 32},
        "encoder": {"name": "resnet10t", "args": {"channels": [8, 16, 16, 32], "stem_width": 8}},
        "objective": {"kind": "simclr", "projector": [32]},
        "train": {
            "epochs": 10,
            "global_batch": 24,
            "workers": 2,
            "log_every": 2,
            "checkpoint": {"every_steps": 6},
            "trace": "trace.parquet",
            **train,
        },
        "evaluate": {
            "train": str(shards / "train"),
            "test": str(shards / "test"),
            "every": 5,
            "snapshot_samples": 20,  # of the 1,200 that are trained on in between
        },
        "tracking": {"experiment": "e2e", "register": "clipart", "storage": str(storage)},
    }


def ended_with(process: CompletedProcess[str]) -> Any:
    assert process.returncode == 0, process.stderr
    (line,) = process.stdout.splitlines()
    return json.loads(line)


@pytest.fixture(scope="module")
def undisturbed(clipart_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and its finished run; the JSON of `pretrain` in `result.json`."""
    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = recipe_for(clipart_shards, folder / "runs")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    process = start(folder, "pretrain", "recipe.yaml", "--json")
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    (folder / "result.json").write_text(out)
    return folder


def start(folder: Path, *arguments: str) -> Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    command = ["python", "-m", "jobs", *arguments]
    return Popen(
        command,
        cwd=folder,
        env={**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"},
        stdout=PIPE,
        stderr=PIPE,
        text=True,
        start_new_session=True,
    )


def journal_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(result["folder"], "journal.jsonl").open()]


def served(folder: Path) -> pa.Table:
    """What a run in the folder traced, but for the rank that served it."""
    return pq.read_table(folder / "trace.parquet").drop_columns("rank")


def test_the_trace_of_an_epoch_is_the_planned_order(undisturbed: Path, jobs_here: Verb) -> None:
    told = ended_with(
        jobs_here("plan", "recipe.yaml", "--order", "order.parquet", "--json", cwd=undisturbed)
    )
    planned, trace = pq.read_table(told["order"]), served(undisturbed)
    assert trace["step"].to_pylist() == [step for step in range(1, 101) for _ in range(24)]
    epoch = trace.filter(pc.equal(trace["epoch"], 0))
    assert pc.subtract(epoch["step"], 1).equals(planned["global_batch"])
    for name in ("stream", "position", "sample_id"):
        assert epoch[name].equals(planned[name])
    checksums = [tuple(views) for views in trace["view_checksums"].to_pylist()]
    assert len(set(checksums)) > 0.9 * len(checksums), "views are drawn anew in every epoch"
    assert {len(views) for views in checksums} == {2}


def test_two_workers_are_served_what_the_plain_loop_serves_to_one(
    undisturbed: Path, clipart_shards: Path, tmp_path: Path
) -> None:
    """And so is one worker of Ray's: see test_run_identity.py."""
    short = recipe_for(clipart_shards, tmp_path / "runs", epochs=None, steps=15)
    serve_by_the_plain_loop(Recipe.model_validate(short), tmp_path)
    assert served(tmp_path).equals(served(undisturbed).slice(0, 15 * 24))


def test_the_report_is_in_the_folder_and_in_mlflow(undisturbed: Path) -> None:
    result = json.loads((undisturbed / "result.json").read_text())
    page = Path(result["report"]).read_text()
    assert Path(result["report"]) == Path(result["folder"], "report.html")
    for told in ("finished: 100 steps (10 epochs)", result["run"], result["model"]["uri"]):
        assert told in page
    assert f"{result['probes']['knn']:.3f}" in page
    assert "data:image/png;base64," in page
    artifacts = MlflowClient(tracking_uri=result["tracking_uri"]).list_artifacts(result["run_id"])
    assert {"recipe.yaml", "ledger.parquet", "report.html"} <= {file.path for file in artifacts}


def test_the_result_says_what_was_done(undisturbed: Path) -> None:
    result = json.loads((undisturbed / "result.json").read_text())
    samples = result["samples"]
    assert result["steps"] == 100
    assert result["epochs"] == 10
    assert samples == {
        "planned": 10 * 240,
        "served": 100 * 24,
        "repeated": 0,
        "quarantined": 0,
        "dropped": 0,
    }
    assert result["images_per_second"] > 0
    assert 0 <= result["data_wait"] <= 1
    assert set(result["probes"]) == {
        f"{probe}{suffix}"
        for probe in ("knn", "linear", "naive_bayes")
        for suffix in ("", "_raw", "_untrained")
    }
    assert result["intervals"].keys() == result["probes"].keys()
    for name, (low, high) in result["intervals"].items():
        assert 0 <= low <= result["probes"][name] <= high <= 1
    assert result["model"] == {"name": "clipart", "version": 1, "uri": "models:/clipart/1"}


def test_mlflow_holds_the_journal_each_step_once(undisturbed: Path) -> None:
    result = json.loads((undisturbed / "result.json").read_text())
    client = MlflowClient(tracking_uri=result["tracking_uri"])
    run = client.get_run(result["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["objective.kind"] == "simclr"
    written = [
        (r["step"], r["metrics"]["loss"]) for r in journal_of(result) if r["kind"] == "metrics"
    ]
    logged = [(m.step, m.value) for m in client.get_metric_history(result["run_id"], "loss")]
    assert sorted(logged) == written
    assert [step for step, _ in written] == list(range(2, 101, 2))
    assert run.data.metrics["knn"] == result["probes"]["knn"]


def test_snapshots_are_evaluated_at_their_steps(undisturbed: Path) -> None:
    result = json.loads((undisturbed / "result.json").read_text())
    client = MlflowClient(tracking_uri=result["tracking_uri"])
    found = {r["step"]: r["metrics"] for r in journal_of(result) if r["kind"] == "evaluation"}
    assert list(found) == [50, 100]
    for name in ("eval/knn", "eval/rankme"):
        logged = client.get_metric_history(result["run_id"], name)
        assert [(point.step, point.value) for point in logged] == [
            (step, metrics[name]) for step, metrics in found.items()
        ]
    assert result["panel"]["rankme"] == found[100]["eval/rankme"]
    assert 0 < result["evaluation_share"] < 1


def test_the_same_command_again_prints_the_result(undisturbed: Path, jobs: Verb) -> None:
    before = json.loads((undisturbed / "result.json").read_text())
    again = ended_with(jobs("pretrain", "recipe.yaml", "--json", cwd=undisturbed))
    assert again == before


def test_evaluate_agrees_with_pretrain(undisturbed: Path, clipart_shards: Path, jobs: Verb) -> None:
    before = json.loads((undisturbed / "result.json").read_text())
    scores = ended_with(
        jobs(
            "evaluate",
            "models:/clipart@candidate",
            "--train",
            clipart_shards / "train",
            "--test",
            clipart_shards / "test",
            "--json",
            cwd=undisturbed,
        )
    )["probes"]
    # Reading features with another number of threads may round otherwise, at a tie.
    for probe in ("knn", "linear", "knn_raw", "linear_raw"):
        assert scores[probe] == pytest.approx(before["probes"][probe], abs=0.02)


def test_a_fetched_encoder_is_the_one_that_was_trained(undisturbed: Path, jobs_here: Verb) -> None:
    before = json.loads((undisturbed / "result.json").read_text())
    fetched = undisturbed / "encoder"
    fetch = ("fetch", "models:/clipart@candidate", "encoder", "--json")
    ended_with(jobs_here(*fetch, cwd=undisturbed))
    assert sorted(p.name for p in fetched.iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "config.json",
        "encoder.safetensors",
    ]
    config = json.loads((fetched / "config.json").read_text())
    plain = timm.create_model(config["architecture"], **config["model_args"]).eval()
    plain.load_state_dict(load_file(fetched / "encoder.safetensors"), strict=True)
    ours = pipeline.load_encoder(str(fetched))
    registered = pipeline.load_encoder(
        "models:/clipart@candidate", tracking_uri=before["tracking_uri"]
    )
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected = plain(ours.normalise(images))
        assert torch.equal(ours(images), expected)
        assert torch.equal(registered(images), expected)
    assert before["probes"]["knn"] != before["probes"]["knn_untrained"]


def wait_for_training(journal: Path) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        records = [json.loads(line) for line in journal.open()] if journal.exists() else []
        if any(record.get("event") == "training" for record in records):
            return
        time.sleep(0.02)
    raise AssertionError("the run did not begin")


def test_a_shard_that_disappears_stops_the_run_and_the_same_command_resumes_it(
    undisturbed: Path, clipart_shards: Path, tmp_path: Path
) -> None:
    before = json.loads((undisturbed / "result.json").read_text())
    shutil.copytree(clipart_shards, tmp_path / "shards")
    recipe = recipe_for(tmp_path / "shards", tmp_path / "runs", max_failures=0)
    recipe |= {"name": "cut", "evaluate": None}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    shard = tmp_path / "shards" / "train" / "shard-000001.tar"
    process = start(tmp_path, "pretrain", "recipe.yaml", "--json")
    journal = tmp_path / "runs" / "e2e" / "cut" / "journal.jsonl"
    try:
        wait_for_training(journal)  # before a step eight of ten slices are read at most
        shard.rename(tmp_path / "away")
        out, err = process.communicate(timeout=900)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1, err
    (problem,) = json.loads(out)["errors"]
    assert "shard-000001.tar" in problem["message"]
    assert "same command" in problem["message"]
    assert "Traceback" not in err
    (tmp_path / "away").rename(shard)
    process = start(tmp_path, "pretrain", "recipe.yaml", "--json")
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert result["encoder_sha256"] == before["encoder_sha256"]
    assert result["samples"] == before["samples"]


def test_a_run_in_an_object_store_gives_the_same_encoder(
    undisturbed: Path,
    clipart_shards: Path,
    tmp_path: Path,
    object_store: str,
    jobs: Verb,
    jobs_here: Verb,
) -> None:
    before = json.loads((undisturbed / "result.json").read_text())
    recipe = recipe_for(clipart_shards, f"s3://runs?{object_store}")
    recipe["tracking"]["uri"] = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    result = ended_with(jobs("pretrain", "recipe.yaml", "--json"))
    assert result["folder"] == f"s3://runs/e2e/{before['run']}?{object_store}"
    assert result["encoder_sha256"] == before["encoder_sha256"]
    assert result["samples"] == before["samples"]
    assert served(tmp_path).equals(served(undisturbed))
    metrics = [
        r
        for r in records(f"s3://runs/e2e/{before['run']}/journal.jsonl?{object_store}")
        if r["kind"] == "metrics"
    ]
    assert [record["step"] for record in metrics] == list(range(2, 101, 2))
    again = ended_with(jobs_here("pretrain", "recipe.yaml", "--json"))
    assert again["encoder_sha256"] == result["encoder_sha256"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "artifacts",
        "mlflow.db",
        "recipe.yaml",
        "trace.parquet",
    }
