"""A package with an autoencoder: every kind of features comes out as it went in."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

import pipeline
from jobs.__main__ import app
from pipeline.encoders.autoencoders.autoencoder import build_autoencoder
from pipeline.encoders.configs.autoencoder import AutoencoderConfig
from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.encoders.embeddings import embedding
from pipeline.errors import UserError
from pipeline.evaluation.config import FeatureKind
from pipeline.recipe import Recipe
from pipeline.registry.packages.card import CardFacts, model_card
from pipeline.registry.packages.config import PackageConfig, Preprocessing
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.registry.packages.files import write_package
from pipeline.registry.packages.names import FEATURE_NAMES
from pipeline.registry.packages.parity import expected_of
from pipeline.registry.tracking import TrackedRun, open_experiment
from pipeline.registry.versions.register import register_encoder
from pipeline.registry.versions.resolve import fetch

pytestmark = pytest.mark.fast

SIZE, BACKBONE, CODE = 16, 24, 5
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
DECODERS: dict[str, dict[str, Any]] = {
    "conv": {"kind": "conv", "channels": [16, 8]},
    "patches": {"kind": "patches", "patch": 4, "width": 8, "depth": 2, "heads": 2},
}
FEATURES: dict[str, Any] = {
    "pooled": "pooled",
    "mean": "mean",
    "sample": "sample",
    "decoder_hidden": "decoder_hidden",
    "first layer": {"kind": "decoder_hidden", "layer": 0, "pool": "last"},
    "all places": {"kind": "decoder_hidden", "pool": "none"},
}
FILES = [
    "README.md",
    "SHA256SUMS",
    "autoencoder/autoencoder.safetensors",
    "config.json",
    "encoder.safetensors",
]
IMAGES = np.random.default_rng(0).integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)


class Trained:
    """What a package is made of."""

    def __init__(self, decoder: str, features: Any, **settings: Any) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            behind = AutoencoderConfig.model_validate(
                {"width": CODE, "decoder": DECODERS[decoder], **settings}
            )
            args = {"num_classes": 0, "channels": [8, 8, 16, BACKBONE], "stem_width": 8}
            self.backbone = timm.create_model("resnet10t", **args)
            self.backbone.train()(torch.randn(8, 3, SIZE, SIZE))
            self.backbone.eval()
            self.autoencoder = build_autoencoder(behind, feature_width=BACKBONE, size=SIZE).eval()
        alone = PackageConfig.of(
            "resnet10t",
            args,
            width=BACKBONE,
            preprocessing=Preprocessing(size=SIZE, mean=MEAN, std=STD),
            autoencoder=behind,
        )
        self.config = alone.giving(FeaturesConfig.model_validate(features), self.autoencoder)

    def write(self, folder: Path) -> Path:
        write_package(
            folder,
            config=self.config,
            weights=self.backbone.state_dict(),
            autoencoder=self.autoencoder.state_dict(),
            card=model_card(self.config, CardFacts(run="cmim-1", recipe_yaml="seed: 0\n")),
        )
        return folder

    @torch.no_grad()
    def features(self, section: Any, images: Tensor) -> Tensor:
        pixels = images.float() / 255
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        wanted = FeaturesConfig.model_validate(section)
        pooled = self.backbone((pixels - mean) / std)
        return embedding(pooled, pixels, wanted, autoencoder=self.autoencoder)


@pytest.fixture
def images() -> Tensor:
    return torch.from_numpy(IMAGES).permute(0, 3, 1, 2).contiguous()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("written", FEATURES)
@torch.no_grad()
def test_every_kind_comes_back_bitwise(
    tmp_path: Path, images: Tensor, written: str, decoder: str, channels: int
) -> None:
    """The package gives what it was written for, and every other kind as well."""
    trained = Trained(decoder, FEATURES[written], channels=channels)
    folder = str(trained.write(tmp_path / "package"))
    for name, section in {"": None, **FEATURES}.items():
        encoder = pipeline.load_encoder(folder, features=section)
        expected = trained.features(FEATURES[name or written], images)
        found = encoder(images)
        assert torch.equal(found, expected)
        assert (found.dtype, found.shape[1]) == (torch.float32, encoder.config.feature_width)
        assert torch.equal(encoder(images), found)
        assert torch.equal(encoder(images.float() / 255), found)
        assert not any(part.training for part in encoder.modules())
    loaded = PackagedEncoder.load(tmp_path / "package")
    assert loaded.config == trained.config
    assert loaded.autoencoder is not None
    for name, value in trained.autoencoder.state_dict().items():
        assert torch.equal(loaded.autoencoder.state_dict()[name], value)


def test_a_sample_is_the_images_own_however_it_is_asked(tmp_path: Path, images: Tensor) -> None:
    encoder = pipeline.load_encoder(str(Trained("conv", "sample").write(tmp_path)))
    with torch.no_grad():
        whole = encoder(images)
        one_by_one = torch.cat([encoder(image[None]) for image in images.flip(0)]).flip(0)
    torch.testing.assert_close(one_by_one, whole)
    mean = Trained("conv", "mean").features("mean", images)
    assert not torch.isclose(whole, mean).any()


def test_other_sizes_are_resized_for_the_encoder(tmp_path: Path) -> None:
    flat = torch.full((2, 3, 50, 31), 77, dtype=torch.uint8)
    encoder = pipeline.load_encoder(str(Trained("conv", "sample").write(tmp_path)))
    with torch.no_grad():
        torch.testing.assert_close(encoder(flat), encoder(flat[..., :SIZE, :SIZE]))


@torch.no_grad()
def test_timm_alone_loads_the_backbone_and_the_card_says_what_it_gives(
    tmp_path: Path, images: Tensor
) -> None:
    trained = Trained("conv", FEATURES["first layer"])
    folder = trained.write(tmp_path / "package")
    card = (folder / "README.md").read_text()
    plain = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    encoder = pipeline.load_encoder(folder, features="pooled")
    expected = encoder(images)
    assert torch.equal(plain(encoder.normalise(images)), expected)
    assert plain.num_features == expected.shape[1] == BACKBONE
    assert f"`resnet10t` from timm, {BACKBONE} features" in card
    hidden = "`decoder_hidden` (hidden layer of the decoder) `layer: 0`, `pool: last`, 16 features"
    assert f"`pipeline.load_encoder` gives {hidden};" in card
    assert f"`mean` (mean of the code), {CODE} features." in card


def test_the_config_says_what_is_behind_the_backbone(tmp_path: Path) -> None:
    trained = Trained("conv", "decoder_hidden")
    config = json.loads((trained.write(tmp_path) / "config.json").read_text())
    assert config["features"] == {"kind": "decoder_hidden", "layer": -1, "pool": "mean"}
    assert (config["feature_width"], config["num_features"]) == (8, BACKBONE)
    assert AutoencoderConfig.model_validate(config["autoencoder"]) == trained.config.autoencoder


@pytest.fixture
def without(tmp_path: Path) -> Path:
    """A package as they were before: a backbone, and a config that knows of nothing else."""
    trained = Trained("conv", "pooled")
    folder = tmp_path / "older"
    folder.mkdir()
    write_package(
        folder,
        config=trained.config.model_copy(update={"autoencoder": None}),
        weights=trained.backbone.state_dict(),
        card="",
    )
    config = json.loads((folder / "config.json").read_text())
    prep = {name: config["preprocessing"][name] for name in ("size", "mean", "std")}
    older = {
        "name": config["architecture"],
        "args": config["model_args"],
        "feature_width": BACKBONE,
        "preprocessing": prep,
        "provenance": {},
    }
    (folder / "config.json").write_text(json.dumps(older))
    (folder / "SHA256SUMS").unlink()
    assert not (folder / "autoencoder").exists()
    return folder


def test_a_package_from_before_gives_its_backbones_features(without: Path, images: Tensor) -> None:
    expected = Trained("conv", "pooled").features("pooled", images)
    for features in (None, "pooled"):
        encoder = pipeline.load_encoder(str(without), features=features)
        with torch.no_grad():
            assert torch.equal(encoder(images), expected)
        assert encoder.config.features == FeaturesConfig(kind="pooled")
        assert encoder.config.feature_width == encoder.config.num_features == BACKBONE


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ("mean", "features: mean: needs one autoencoder behind the encoder, .*; allowed: pooled"),
        ({"kind": "decoder_hidden", "layer": 0}, "features: decoder_hidden: needs one autoencoder"),
        ("means", "features.kind: 'means' is wrong: input should be 'pooled', 'mean', 'sample'"),
        ({"kind": "sample", "pool": "last"}, "features: pool is a setting of kind decoder_hidden"),
        ({"kind": "decoder_hidden", "layer": "top"}, "features.layer: 'top' is wrong"),
        ({"kind": "decoder_hidden", "lair": 1}, "features.lair: is not a setting; did you mean l"),
    ],
)
def test_features_that_a_package_cannot_give_are_refused(
    without: Path, features: Any, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        pipeline.load_encoder(str(without), features=features)


def test_a_layer_out_of_range_is_refused_with_the_range(tmp_path: Path) -> None:
    folder = str(Trained("conv", "mean").write(tmp_path))
    with pytest.raises(UserError, match=r"features.layer: -3 is wrong: .* allowed: -2 to 1"):
        pipeline.load_encoder(folder, features={"kind": "decoder_hidden", "layer": -3})


def test_an_autoencoder_that_is_lost_is_named(tmp_path: Path) -> None:
    folder = Trained("conv", "mean").write(tmp_path)
    (folder / "autoencoder" / "autoencoder.safetensors").unlink()
    with pytest.raises(UserError, match=r"autoencoder.safetensors: is missing, SHA256SUMS names"):
        pipeline.load_encoder(str(folder))
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match=r"autoencoder.safetensors: is missing, but config.json"):
        pipeline.load_encoder(str(folder))


def test_weights_of_an_autoencoder_are_found_where_older_packages_had_them(
    tmp_path: Path, images: Tensor
) -> None:
    trained = Trained("conv", "mean")
    folder = trained.write(tmp_path)
    (folder / "autoencoder" / "autoencoder.safetensors").rename(folder / "autoencoder.safetensors")
    (folder / "autoencoder").rmdir()
    (folder / "SHA256SUMS").unlink()
    with torch.no_grad():
        assert torch.equal(pipeline.load_encoder(folder)(images), trained.features("mean", images))


def test_weights_and_config_of_an_autoencoder_go_together(tmp_path: Path) -> None:
    trained = Trained("conv", "mean")
    with pytest.raises(ValueError, match="both its config and its weights"):
        write_package(
            tmp_path, config=trained.config, weights=trained.backbone.state_dict(), card=""
        )


@pytest.fixture(scope="module")
def store(storage: Path) -> Iterator[str]:
    uri = f"sqlite:///{storage}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(None)


@pytest.mark.parametrize(
    ("written", "served"),
    [("pooled", "pooled"), ("mean", "mean"), ("sample", "mean"), ("first layer", "mean")],
)
def test_mlflow_serves_what_needs_no_decoder_and_says_so(
    tmp_path: Path, images: Tensor, store: str, written: str, served: str
) -> None:
    trained = Trained("conv", FEATURES[written])
    folder = trained.write(tmp_path / "package")
    run = TrackedRun.create(store, open_experiment(store, "coded"), name=written, params={})
    name = f"coded-{written}"
    parity = expected_of(trained.backbone, trained.config, trained.autoencoder)
    register_encoder(folder, name=name, run=run, tags={}, parity=parity)

    model = mlflow.pyfunc.load_model(f"models:/{name}@candidate")
    found = model.predict(IMAGES)
    expected = trained.features(served, images).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert found.dtype == np.float32

    written_files = fetch(f"models:/{name}/1", tmp_path / "fetched", tracking_uri=store).files
    assert written_files == [tmp_path / "fetched" / name for name in FILES]
    for name_of_file in FILES:
        assert (folder / name_of_file).read_bytes() == (
            tmp_path / "fetched" / name_of_file
        ).read_bytes()
    for place in (f"models:/{name}@candidate", str(tmp_path / "fetched")):
        for section in (None, *FEATURES.values()):
            encoder = pipeline.load_encoder(place, features=section, tracking_uri=store)
            with torch.no_grad():
                given = trained.features(section or FEATURES[written], images)
                assert torch.equal(encoder(images), given)
    weights = load_file(tmp_path / "fetched" / "encoder.safetensors")
    timm.create_model(trained.config.architecture, **trained.config.model_args).load_state_dict(
        weights
    )


def test_what_the_page_shows_can_be_done(
    tmp_path: Path, clipart_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "objectives.md").read_text()
    (_, _, under) = page.partition("## Features of an autoencoder")
    shown = dict(re.findall(r"```(yaml|python|sh)\n(.*?)```", under, flags=re.DOTALL))
    settings = {"objective": {"kind": "cmim"}, "data": {"shards": "shards"}, "train": {"epochs": 1}}
    recipe = Recipe.model_validate({**yaml.safe_load(shown["yaml"]), **settings})
    assert recipe.features.kind == "decoder_hidden"
    assert recipe.evaluate.kinds("pooled") == ("mean", "decoder_hidden", "pooled")

    Trained("conv", "mean").write(tmp_path / "my-encoder")
    (tmp_path / "shards").symlink_to(clipart_shards)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(shown["python"], names)
    assert names["encoder"].config.features == FeaturesConfig(kind="decoder_hidden")
    assert names["first"].config.features.layer == 0
    for command in shown["sh"].splitlines():
        arguments = shlex.split(command.removeprefix("python -m jobs "))
        done = CliRunner().invoke(app, [*arguments, "--probes", "knn"])
        assert done.exit_code == 0, done.output


def test_every_kind_has_a_name_on_cards_and_reports() -> None:
    assert set(FEATURE_NAMES) == set(FeatureKind)
