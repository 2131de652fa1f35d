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

import pipeline
from jobs.__main__ import app
from pipeline.encoders.autoencoders.autoencoder import build_autoencoder
from pipeline.encoders.configs.autoencoder import AutoencoderConfig
from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.evaluation.config import Probe
from pipeline.evaluation.probe_set import load_probe_set
from pipeline.evaluation.probes.scoring import predictions
from pipeline.registry.packages.config import PackageConfig, Preprocessing
from pipeline.registry.packages.files import write_package

pytestmark = pytest.mark.fast


@pytest.fixture
def package(tmp_path: Path) -> Path:
    config = PackageConfig.of(
        "resnet10t",
        {"num_classes": 0, "channels": [8, 8, 16, 16], "stem_width": 8},
        width=16,
        preprocessing=Preprocessing(size=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = timm.create_model(config.architecture, **config.model_args).state_dict()
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


@pytest.fixture
def coded(tmp_path: Path) -> Path:
    """A package with an autoencoder, which gives the means of codes."""
    behind = AutoencoderConfig.model_validate(
        {"width": 6, "decoder": {"kind": "conv", "channels": [16, 8]}}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        args = {"num_classes": 0, "channels": [8, 8, 16, 16], "stem_width": 8}
        weights = timm.create_model("resnet10t", **args).state_dict()
        autoencoder = build_autoencoder(behind, feature_width=16, size=16)
    config = PackageConfig.of(
        "resnet10t",
        args,
        width=16,
        preprocessing=Preprocessing(size=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        autoencoder=behind,
    ).giving(FeaturesConfig(kind="mean"), autoencoder.eval())
    write_package(
        tmp_path / "coded",
        config=config,
        weights=weights,
        autoencoder=autoencoder.state_dict(),
        card="",
    )
    return tmp_path / "coded"


def options(*kinds: str) -> list[str]:
    return [word for kind in kinds for word in ("--features", kind)]


def test_kinds_of_codes_stand_beside_the_output(coded: Path, clipart_shards: Path) -> None:
    probe = ("--probes", "linear", "--json")
    usual = result_of(evaluate(coded, clipart_shards, *probe))
    assert usual["features"] == ["mean"]
    assert usual["panel"]["rankme"] <= 6
    kinds = ["decoder_hidden", "mean", "sample", "pooled"]
    both = result_of(evaluate(coded, clipart_shards, *options(*kinds), *probe))
    assert both["features"] == kinds
    names = ["linear", "linear_mean", "linear_sample", "linear_pooled", "linear_raw"]
    assert list(both["probes"]) == names
    assert both["probes"]["linear_mean"] == usual["probes"]["linear"]
    assert len(set(both["probes"].values())) > 3

    last = result_of(evaluate(coded, clipart_shards, *options("decoder_hidden"), *probe))
    assert last["probes"]["linear"] == both["probes"]["linear"]
    hidden = (*options("decoder_hidden"), "--layer", "0", "--pool", "none")
    first = result_of(evaluate(coded, clipart_shards, *hidden, *probe))
    encoder = pipeline.load_encoder(
        str(coded), features={"kind": "decoder_hidden", "layer": 0, "pool": "none"}
    )
    train, test = (
        load_probe_set(str(clipart_shards / name), size=16, max_samples=20_000)
        for name in ("train", "test")
    )
    with torch.no_grad():
        fitted, checked = (
            encoder(torch.from_numpy(s.images).permute(0, 3, 1, 2)) for s in (train, test)
        )
    found = predictions(Probe.linear, fitted, train.labels, checked, seed=0) == test.labels
    assert first["probes"]["linear"] == pytest.approx(found.mean(), abs=0.02)


@pytest.mark.parametrize(
    ("given", "where", "told"),
    [
        (
            options("projector"),
            "--features",
            "allowed: pooled, patch_average, last_layers, mean, s",
        ),
        ([*options("decoder_hidden"), "--layer", "2"], "--layer", "2 is wrong: the decoder has 2"),
        ([*options("mean"), "--layer", "0"], "--layer", "0 is of no use without --features dec"),
        (["--pool", "last"], "--pool", "last is of no use without --features decoder_hidden"),
    ],
)
def test_what_a_coded_package_cannot_give_is_refused(
    coded: Path, clipart_shards: Path, given: list[str], where: str, told: str
) -> None:
    done = evaluate(coded, clipart_shards, *given, "--json")
    assert done.exit_code == 2
    (problem,) = json.loads(done.stdout)["errors"]
    assert problem["where"] == where
    assert told in problem["message"]


def test_kinds_of_codes_are_refused_where_there_are_no_codes(
    package: Path, clipart_shards: Path
) -> None:
    done = evaluate(package, clipart_shards, *options("pooled", "mean"), "--json")
    assert done.exit_code == 2
    (problem,) = json.loads(done.stdout)["errors"]
    assert problem["message"].startswith("mean: needs one autoencoder behind the encoder")
    assert problem["message"].endswith("allowed: pooled, patch_average, last_layers")
