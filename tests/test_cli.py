"""The commands: what they print, where they print it, and how they end."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import timm
import yaml
from click.testing import Result
from typer.testing import CliRunner

from jobs.__main__ import app

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parent.parent
ENCODER_ARGS = {"channels": [16, 16, 32, 32], "stem_width": 8}
OPTIONS = {
    "init": "--data --output --force --json",
    "shard": "--format --labels --images --test-fraction --samples-per-shard --seed --json",
    "plan": "--order --epoch --space --json",
    "pretrain": "--fresh --verbose --json",
    "sweep": "--space --trials --hours --concurrent --seeds --warm-start --fresh --verbose --json",
    "report": "--against --json",
    "evaluate": "--train --test --tasks --probes --features --targets --test-targets --target "
    "--target-kind --confusion --max-samples --seed --tracking-uri --json",
    "embed": "--features --dtype --workers --max-bad-fraction --map --tracking-uri --json",
    "models": "--tracking-uri --json",
    "promote": "--version --to --force --train --test --tracking-uri --json",
    "fetch": "--onnx --tracking-uri --json",
    "verify": "--steps --run --tracking-uri --verbose --json",
    "schema": "--output --json",
}

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a verb in this process, in a folder of the test's own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def recipe(tmp_path: Path, clipart_shards: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    settings = {
        "data": {"shards": f"{clipart_shards}/train", "streams": 4},
        "views": {"size": 16},
        "encoder": {"name": "resnet10t", "args": ENCODER_ARGS},
        "objective": {"projector": [32, 16]},
        "train": {"epochs": 3, "global_batch": 32, "workers": 2},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def only_line(result: Result) -> Any:
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def refused(result: Result) -> list[str]:
    """What was wrong, after checking that it was told as the design says."""
    assert result.exit_code == 2, f"{result.exit_code} {result.exception!r} {result.stderr}"
    told = only_line(result)
    assert list(told) == ["errors"]
    for error in told["errors"]:
        assert f"  {error['where']}: {error['message']}" in result.stderr
    assert re.search(r"^\d+ mistakes?, nothing was changed:$", result.stderr, re.MULTILINE)
    return [error["where"] for error in told["errors"]]


def test_help_lists_the_verbs(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(re.search(rf"^  {verb} ", result.stdout, re.MULTILINE) for verb in OPTIONS)


@pytest.mark.parametrize("verb", OPTIONS)
def test_help_of_a_verb_lists_its_options_and_an_example(run: Run, verb: str) -> None:
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert set(OPTIONS[verb].split()) <= set(re.findall(r"^ +(--[a-z-]+)", result.stdout, re.M))
    assert f"Example: python -m jobs {verb} " in " ".join(result.stdout.split())


@pytest.mark.parametrize("verb", ["plan", "pretrain", "sweep"])
def test_the_recipe_of_an_example_exists(run: Run, verb: str) -> None:
    (named,) = re.findall(r"jobs/recipes/\S+\.yaml", run(verb, "--help").stdout)
    assert (ROOT / named).exists()


def test_plan_prints_the_figures_that_one_finds_by_hand(
    run: Run, recipe: Path, clipart_shards: Path
) -> None:
    plan = only_line(run("plan", recipe, "--json"))
    view_bytes = 16 * 16 * 3
    model = timm.create_model("resnet10t", num_classes=0, **ENCODER_ARGS)
    encoder = sum(math.prod(parameter.shape) for parameter in model.parameters())
    projector = 32 * 32 + 2 * 32 + 32 * 16
    expected = {
        "samples": 240,
        "excluded": 0,
        "shards": 4,  # of 70, 70, 70 and 30
        "streams": 4,
        "allowed_workers": [1, 2, 4],
        "workers": 2,
        "steps_per_epoch": 7,  # a stream has 60 samples and gives 8 to a batch
        "steps": 21,
        "epochs": 3.0,
        "dropped_tail": 16,  # 240 - 7 * 32
        "repeated": 0,
        "sources": [
            {
                "path": str(clipart_shards / "train"),
                "samples": 240,
                "excluded": 0,
                "streams": 4,
                "share": 1.0,
            }
        ],
        "local_batch": 16,
        "batch_bytes": 16 * 2 * view_bytes,
        "network_bytes_per_image": 0,
        "cache_bytes_needed": 0,
        "times_fetched": 0.0,
        "in_flight_bytes": 8 * 512 * 2 * view_bytes,  # 32 batches to a slice
        "parameters": encoder + projector,
        "encoder_parameters": encoder,
        "features": "pooled",
        "feature_width": 32,
        "warnings": [
            "evaluate: no labelled shards given, so the encoder will have no probe scores"
        ],
    }
    memory = plan.pop("memory_bytes")
    assert plan == expected
    assert memory > 4 * 4 * (encoder + projector)


def test_plan_takes_overrides_and_prints_a_table_for_people(run: Run, recipe: Path) -> None:
    result = run("plan", recipe, "train.steps=10", "train.workers=1")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "samples 240 in 4 shards" in text
    assert "steps 10 = 1.429 epochs of 7" in text
    assert "workers 1, each with 32 samples of a batch" in text
    assert "warning evaluate: no labelled shards given" in text
    assert "excluded" not in text


def test_plan_says_how_many_samples_are_excluded(run: Run, recipe: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("0\n7\n8\n")
    plan = only_line(run("plan", recipe, f"data.exclude={bad}", "--json"))
    assert (plan["samples"], plan["excluded"]) == (240, 3)
    assert plan["dropped_tail"] == 240 - 3 - 7 * 32
    text = " ".join(run("plan", recipe, f"data.exclude={bad}").stdout.split())
    assert "excluded 3 samples, by data.exclude; 237 are left" in text


def test_plan_warns_of_a_test_set_that_was_trained_on(
    run: Run, recipe: Path, clipart_shards: Path
) -> None:
    train = clipart_shards / "train"
    plan = only_line(run("plan", recipe, f"evaluate={{train: {train}, test: {train}}}", "--json"))
    (warning,) = plan["warnings"]
    assert warning.startswith("evaluate.test: the same shards")


def test_plan_writes_the_order_of_an_epoch(run: Run, recipe: Path, tmp_path: Path) -> None:
    found = {}
    for name, settings in {"0": [], "0 again": ["--epoch", "0"], "1": ["--epoch", "1"]}.items():
        plan = only_line(run("plan", recipe, "--order", "order.parquet", *settings, "--json"))
        assert plan["order"] == str(tmp_path / "order.parquet")
        assert plan["steps_per_epoch"] == 7
        found[name] = pq.read_table(plan["order"])
    other_seed = run("plan", recipe, "seed=1", "--order", "other.parquet")
    assert "order epoch 0, 224 samples, in other.parquet" in " ".join(other_seed.stdout.split())
    found["seed"] = pq.read_table("other.parquet")
    assert found["0"].equals(found["0 again"])
    assert {len(table) for table in found.values()} == {7 * 32}
    assert len({tuple(found[name]["sample_id"].to_pylist()) for name in ("0", "1", "seed")}) == 3


def test_plan_refuses_an_order_that_it_cannot_write(run: Run, recipe: Path) -> None:
    assert refused(run("plan", recipe, "--epoch", 1, "--json")) == ["--epoch"]
    assert refused(run("plan", recipe, "--order", "absent/order.parquet", "--json")) == ["--order"]
    below = run("plan", recipe, "--order", "order.parquet", "--epoch", -1)
    assert below.exit_code == 2
    assert "Invalid value for '--epoch'" in below.stderr


def test_bad_input_is_refused_with_every_mistake_in_one_message(run: Run, recipe: Path) -> None:
    mistakes = ("train.wokers=1", "train.workers=3", "train.global_batch=30", "seed=-1")
    told = {"train.wokers", "train.workers", "train.global_batch", "seed"}
    assert set(refused(run("plan", recipe, *mistakes, "--json"))) == told
    for_people = run("plan", recipe, *mistakes)
    assert for_people.exit_code == 2
    assert for_people.stdout == ""
    assert for_people.stderr.startswith("4 mistakes, nothing was changed:\n")
    assert "did you mean workers?" in for_people.stderr


@pytest.mark.parametrize("verb", ["plan", "pretrain"])
def test_a_recipe_that_is_absent_or_malformed_is_refused(
    run: Run, tmp_path: Path, verb: str
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("train: [1")
    assert refused(run(verb, bad, "--json")) == [str(bad)]
    assert refused(run(verb, tmp_path / "absent.yaml", "--json")) == [f"{tmp_path}/absent.yaml"]


def test_shard_prints_its_figures_as_one_line(run: Run, clipart: Path) -> None:
    result = run("shard", clipart, "out", "--labels", "y", "--test-fraction", 0.2, "--json")
    sets = only_line(result)["sets"]
    assert (sets["out/train"]["samples"], sets["out/test"]["samples"]) == (240, 60)


def test_brackets_in_a_path_are_printed(run: Run, clipart: Path) -> None:
    assert "out[v1]" in run("shard", clipart, "out[v1]").stdout


def test_report_refuses_a_folder_that_is_no_run(run: Run, tmp_path: Path) -> None:
    assert refused(run("report", tmp_path / "absent", "--json")) == [f"{tmp_path}/absent"]


@pytest.fixture
def sources(tmp_path: Path, clipart: Path) -> Path:
    folder = tmp_path / "sources"
    (folder / "text").mkdir(parents=True)
    (folder / "text" / "note.png").write_text("not a picture")
    (folder / "empty").mkdir()
    (folder / "good.npz").write_bytes(clipart.read_bytes())
    (folder / "pickled.npz").write_bytes(b"no zip")
    (folder / "torn.npz").write_bytes(clipart.read_bytes()[:5000])
    (folder / "zero.npz").touch()
    (folder / "bad.parquet").write_bytes(b"not a table at all")
    (folder / "latin1.csv").write_bytes("file,label\nnote.png,caf\xe9\n".encode("latin-1"))
    (folder / "columns.csv").write_text("name,class\nnote.png,1\n")
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("absent", "out"),
        ("empty", "out"),
        ("text", "out"),
        ("pickled.npz", "out"),
        ("columns.csv", "out"),
        ("text", "out", "--labels", "sources/columns.csv"),
        ("text", "out", "--labels", "folder"),
        ("good.npz", "sources"),
        ("good.npz", "out", "--labels", "z"),
        ("good.npz", "out", "--images", "y"),
        ("good.npz", "out", "--test-fraction", "0.001"),
        ("torn.npz", "out"),
        ("zero.npz", "out"),
        ("bad.parquet", "out"),
        ("text", "out", "--labels", "sources/latin1.csv"),
        ("good.npz", "sources/zero.npz/out"),
        ("text", "new/out"),
    ],
    ids=" ".join,
)
def test_shard_refuses_bad_input_and_leaves_nothing_behind(
    run: Run, tmp_path: Path, sources: Path, arguments: tuple[str, ...]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    source, *others = arguments
    assert len(refused(run("shard", f"sources/{source}", *others, "--json"))) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("arguments", [("--test-fraction", "0.95"), ("--format", "zip")])
def test_an_option_out_of_range_is_refused(run: Run, sources: Path, arguments: Any) -> None:
    result = run("shard", sources / "good.npz", "out", *arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{arguments[0]}'" in result.stderr


@pytest.mark.parametrize("model", ["nowhere", "models:/nothing@candidate"])
def test_a_missing_model_is_refused(
    run: Run, tmp_path: Path, clipart_shards: Path, model: str
) -> None:
    shards = ("--train", clipart_shards / "train", "--test", clipart_shards / "test")
    assert refused(run("evaluate", model, *shards, "--json")) == [model]
    assert refused(run("fetch", model, "out", "--json")) == [model]
    assert list(tmp_path.iterdir()) == []
