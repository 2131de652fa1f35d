"""`evaluate` of a packaged encoder: which scores it gives, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from click.testing import Result
from typer.testing import CliRunner

from jobs.__main__ import app
from pipeline.registry.package import PackageConfig, Preprocessing, write_package

pytestmark = pytest.mark.fast


@pytest.fixture
def package(tmp_path: Path) -> Path:
    config = PackageConfig(
        name="resnet10t",
        args={"num_classes": 0, "channels": [8, 8, 16, 16], "stem_width": 8},
        feature_width=16,
        preprocessing=Preprocessing(size=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = timm.create_model(config.name, **config.args).state_dict()
    write_package(tmp_path / "encoder", config=config, weights=weights, card="")
    return tmp_path / "encoder"


def evaluate(package: Path, shards: Path, *options: str) -> Result:
    sets = ["--train", str(shards / "train"), "--test", str(shards / "test")]
    return CliRunner().invoke(app, ["evaluate", str(package), *sets, *options])


def result_of(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


def test_all_probes_of_the_output_beside_raw_pixels(package: Path, clipart_shards: Path) -> None:
    result = result_of(evaluate(package, clipart_shards, "--json"))
    names = ["knn", "linear", "naive_bayes"]
    assert list(result["probes"]) == [*names, *(f"{name}_raw" for name in names)]
    assert list(result["intervals"]) == list(result["probes"])
    for name, accuracy in result["probes"].items():
        low, high = result["intervals"][name]
        assert 0 <= low <= accuracy <= high <= 1
    assert {"rankme", "lidar", "alignment", "tolerance"} < set(result["panel"])
    assert result["panel"]["rankme"] <= 16


def test_features_and_probes_that_are_named(package: Path, clipart_shards: Path) -> None:
    kinds = ("--features", "last_layers", "--features", "pooled", "--features", "patch_average")
    result = result_of(evaluate(package, clipart_shards, *kinds, "--probes", "knn", "--json"))
    scores = result["probes"]
    assert list(scores) == ["knn", "knn_pooled", "knn_patch_average", "knn_raw"]
    assert scores["knn_pooled"] == pytest.approx(scores["knn_patch_average"], abs=0.02)
    alone = result_of(evaluate(package, clipart_shards, "--probes", "knn", "--json"))
    assert alone["probes"]["knn"] == scores["knn_pooled"]
    assert alone["intervals"]["knn"] == result["intervals"]["knn_pooled"]


def test_people_read_intervals_and_floors(package: Path, clipart_shards: Path) -> None:
    done = evaluate(package, clipart_shards, "--probes", "naive_bayes")
    assert done.exit_code == 0
    score = r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]"
    assert re.search(rf"naive_bayes +{score}  \(raw pixels 0\.\d{{3}}\)", done.stdout)


def test_features_of_the_head_are_refused(package: Path, clipart_shards: Path) -> None:
    done = evaluate(package, clipart_shards, "--features", "projector", "--json")
    assert done.exit_code == 2
    (problem,) = json.loads(done.stdout)["errors"]
    assert problem["where"] == "--features"
    assert problem["message"].endswith("allowed: pooled, patch_average, last_layers")
