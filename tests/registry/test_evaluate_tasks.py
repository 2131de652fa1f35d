"""`evaluate` beside the probes: which figures it gives of which targets, and what it refuses."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from typer.testing import CliRunner

from jobs.__main__ import app
from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.shard_reader import read_labels
from pipeline.data.sources.index import load_index
from pipeline.data.sources.manifest import load_manifest
from pipeline.registry.packages.config import PackageConfig, Preprocessing
from pipeline.registry.packages.files import write_package

pytestmark = pytest.mark.fast

FIGURES = [
    "retrieval_map",
    "recall_at_1",
    "recall_at_5",
    "recall_at_10",
    "cluster_nmi",
    "cluster_ari",
    "few_shot_1",
    "few_shot_5",
    "few_shot_10",
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "encoder"
    config = PackageConfig.of(
        "resnet10t",
        {"num_classes": 0, "channels": [8, 8, 16, 16], "stem_width": 8},
        width=16,
        preprocessing=Preprocessing(size=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = timm.create_model(config.architecture, **config.model_args).state_dict()
    write_package(folder, config=config, weights=weights, card="")
    return folder


def run(package: Path, shards: Path, *options: str) -> Any:
    sets = ["--train", str(shards / "train"), "--test", str(shards / "test")]
    done = CliRunner().invoke(app, ["evaluate", str(package), *sets, *options, "--json"])
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert done.exit_code == (2 if "errors" in result else 0), done.output
    return result


def told(result: Any) -> list[tuple[str, str]]:
    return [(error["where"], error["message"]) for error in result["errors"]]


def test_all_that_classes_allow_beside_raw_pixels(
    package: Path, clipart_shards: Path, tmp_path: Path
) -> None:
    options = ("--probes", "naive_bayes", "--confusion", str(tmp_path / "c.png"))
    result = run(package, clipart_shards, *options)
    assert list(result["probes"]) == ["naive_bayes", "naive_bayes_raw"]
    assert list(result["tasks"]) == [*FIGURES, *(f"{name}_raw" for name in FIGURES)]
    for name, value in result["tasks"].items():
        low, high = result["task_intervals"][name]
        assert low <= value <= high
        assert math.isfinite(high - low)
    assert result["target"]["kind"] == "classes"
    assert (result["target"]["train"], result["target"]["test"]) == (240, 60)
    assert len(result["per_class"]) == 12
    right = sum(score["samples"] * score["accuracy"] for score in result["per_class"].values())
    assert right / 60 == pytest.approx(result["probes"]["naive_bayes"])
    assert Image.open(result["confusion"]).format == "PNG"
    assert result["notes"] == []


def test_tasks_that_are_named(package: Path, clipart_shards: Path) -> None:
    kinds = ("--features", "pooled", "--features", "patch_average")
    result = run(package, clipart_shards, "--tasks", "retrieval", *kinds)
    assert (result["probes"], result["per_class"]) == ({}, {})
    expected = [f"{name}{end}" for end in ("", "_patch_average", "_raw") for name in FIGURES[:4]]
    assert list(result["tasks"]) == expected


def table(path: Path, shards: Path, value_of: Any) -> str:
    """A line for each sample, by key, of what is made of its label and id."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["key", "value"])
        for name in ("train", "test"):
            folder = shards / name
            labels = read_labels(load_corpus((str(folder),)), at_most=10**6)
            for shard in load_manifest(folder).shards:
                keys = load_index(str(folder / shard.index_path)).keys().to_pylist()
                for sample_id, key in enumerate(keys, shard.first_id):
                    lines.writerow([key, value_of(int(labels[sample_id]), sample_id)])
    return str(path)


def test_numbers_and_labels_of_a_table(package: Path, clipart_shards: Path, tmp_path: Path) -> None:
    numbers = table(tmp_path / "n.csv", clipart_shards, lambda label, _: label + 0.5)
    result = run(package, clipart_shards, "--targets", numbers)
    assert result["target"] == {
        "kind": "regression",
        "column": "value",
        "names": 0,
        "train": 240,
        "test": 60,
        "train_without": 0,
        "test_without": 0,
        "lines_without_sample": 0,
    }
    assert list(result["tasks"]) == ["ridge_r2", "ridge_r2_raw"]
    assert result["tasks"]["ridge_r2"] < 1
    assert (result["probes"], result["per_class"]) == ({}, {})

    def labels(label: int, sample_id: int) -> str:
        return "" if sample_id % 4 == 0 else f"{label % 3};{'even' if label % 2 == 0 else 'odd'}"

    several = table(tmp_path / "l.csv", clipart_shards, labels)
    result = run(package, clipart_shards, "--targets", several)
    assert (result["target"]["kind"], result["target"]["names"]) == ("multilabel", 5)
    assert (result["target"]["train"], result["target"]["test"]) == (180, 45)
    assert list(result["tasks"]) == ["linear_map", "linear_map_raw"]
    assert 0.3 < result["tasks"]["linear_map"] < 1
    assert result["notes"][0].startswith("--train: 60 samples without a target are passed over")


def test_classes_of_a_table_are_those_of_the_shards(
    package: Path, clipart_shards: Path, tmp_path: Path
) -> None:
    classes = table(tmp_path / "c.csv", clipart_shards, lambda label, _: f"{label:02d}x")
    options = ("--probes", "knn", "--tasks", "probes", "--tasks", "retrieval")
    usual = run(package, clipart_shards, *options)
    other = run(package, clipart_shards, *options, "--targets", classes)
    assert (other["probes"], other["tasks"]) == (usual["probes"], usual["tasks"])


def test_mistakes_are_told_together(package: Path, clipart_shards: Path, tmp_path: Path) -> None:
    numbers = table(tmp_path / "n.csv", clipart_shards, lambda label, _: label + 0.5)
    wrong = ("--tasks", "retrieval", "--confusion", "absent/c.png", "--layer", "0")
    found = dict(told(run(package, clipart_shards, *wrong, "--targets", numbers)))
    assert "retrieval needs classes, targets are regression; allowed: probes" in found["--tasks"]
    assert {"--confusion", "--layer"} < set(found)
    found = dict(told(run(package, clipart_shards, "--target", "a", "--test-targets", "b.csv")))
    assert set(found) == {"--target", "--test-targets"}
    probing = run(package, clipart_shards, "--probes", "knn", "--targets", numbers)
    assert told(probing) == [("--probes", "are of classes, targets are regression")]
    absent = run(package, clipart_shards, "--targets", numbers, "--target", "absent")
    assert told(absent)[0][0] == "--target"


def test_people_read_the_kind_the_worst_classes_and_notes(
    package: Path, clipart_shards: Path
) -> None:
    sets = ["--train", str(clipart_shards / "train"), "--test", str(clipart_shards / "test")]
    options = ["--tasks", "few_shot", "--tasks", "per_class", "--probes", "knn"]
    done = CliRunner().invoke(app, ["evaluate", str(package), *sets, *options])
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    assert "target 12 classes, 240 and 60 samples" in text
    assert "few_shot_1 0." in text
    assert text.count("class ") == 5
    assert np.isfinite(float(text.split("few_shot_5 ")[1].split()[0]))
