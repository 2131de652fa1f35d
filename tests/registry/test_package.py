"""The packaged encoder: what goes into the folder is what timm alone takes out of it."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import pipeline
from pipeline.data.decode import decode_image
from pipeline.errors import UserError
from pipeline.evaluation.probes.score import Score
from pipeline.registry.packages.card import CardFacts, model_card
from pipeline.registry.packages.config import PackageConfig, Preprocessing
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.registry.packages.files import write_package
from pipeline.views.opencv import render_probe_view

pytestmark = pytest.mark.fast

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
CONFIG = PackageConfig.of(
    "resnet10t",
    {"num_classes": 0, "channels": [16, 16, 32, 32], "stem_width": 8},
    width=32,
    preprocessing=Preprocessing(size=24, mean=MEAN, std=STD),
    provenance={"run": "simclr-1", "data_fingerprint": "abc"},
)
SCORES = {
    f"{probe}{suffix}": Score(accuracy, accuracy - 0.1, accuracy + 0.1)
    for probe in ("knn", "linear", "naive_bayes")
    for suffix, accuracy in (("", 0.8124), ("_untrained", 0.5), ("_raw", 0.25))
} | {"knn_last_layers": Score(0.7, 0.6, 0.8)}
FACTS = CardFacts(
    run="simclr-1",
    recipe_yaml="seed: 0\n",
    scores=SCORES,
    panel={"rankme": 17.25},
    samples=60_000,
    quarantined=3,
    bad_pairs={"noisy": 12, "faulty": 0},
    excluded=1200,
    sources=["SimCLR (Chen et al., A Simple Framework for Contrastive Learning, ICML 2020)"],
)


def trained_weights(seed: int = 0) -> dict[str, Tensor]:
    """Weights with running statistics that differ from their start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = timm.create_model(CONFIG.architecture, **CONFIG.model_args).train()
        for _ in range(3):
            model(torch.randn(8, 3, 24, 24))
    return dict(model.state_dict())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "encoder"
    card = model_card(CONFIG, FACTS)
    write_package(folder, config=CONFIG, weights=trained_weights(), card=card)
    return folder


@pytest.fixture
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (6, 3, 24, 24), dtype=torch.uint8, generator=generator)


def normalised(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def test_timm_alone_computes_bitwise_the_same_features(folder: Path, pixels: Tensor) -> None:
    config = json.loads((folder / "config.json").read_text())
    plain = timm.create_model(config["architecture"], **config["model_args"]).eval()
    plain.load_state_dict(load_file(folder / "encoder.safetensors"), strict=True)
    packaged = PackagedEncoder.load(folder)
    with torch.no_grad():
        features = packaged(pixels)
        assert torch.equal(features, plain(normalised(pixels)))
        assert torch.equal(packaged.normalise(pixels), normalised(pixels))
    assert (features.shape, features.dtype) == ((6, config["feature_width"]), torch.float32)


def test_the_folder_is_a_repository_of_the_hugging_face_hub(
    folder: Path, pixels: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--me--encoder"  # as the hub's own library keeps a copy of one
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    shutil.copytree(folder, repository / "snapshots" / "abc")
    hub = timm.create_model("hf-hub:me/encoder", pretrained=True, cache_dir=str(tmp_path)).eval()
    with torch.no_grad():
        assert torch.equal(hub(normalised(pixels)), PackagedEncoder.load(folder)(pixels))
    tuned = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=10)
    assert torch.equal(tuned.conv1[0].weight, hub.conv1[0].weight)
    assert tuned(normalised(pixels)).shape == (6, 10)


def test_every_weight_comes_back_bitwise(folder: Path) -> None:
    expected = trained_weights()
    packaged = PackagedEncoder.load(folder)
    found = packaged.backbone.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert packaged.config == CONFIG
    assert not packaged.training
    assert not packaged.backbone.training


def test_the_hash_is_the_files_and_depends_on_the_weights_alone(tmp_path: Path) -> None:
    weights = trained_weights()
    other_card = CONFIG.model_copy(update={"provenance": {"run": "other"}})
    hashes = {
        name: write_package(tmp_path / name, config=config, weights=given, card=name)
        for name, config, given in (
            ("first", CONFIG, weights),
            ("again", other_card, dict(reversed(weights.items()))),
            ("strided", CONFIG, {name: _strided(value) for name, value in weights.items()}),
            ("other", CONFIG, trained_weights(seed=1)),
        )
    }
    for name, digest in hashes.items():
        data = (tmp_path / name / "encoder.safetensors").read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
    assert hashes["first"] == hashes["again"] == hashes["strided"] != hashes["other"]


def _strided(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def test_weights_of_another_shape_are_refused(folder: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"model_args": {**CONFIG.model_args, "stem_width": 16}})
    write_package(tmp_path, config=config, weights=trained_weights(), card="")
    with pytest.raises(UserError, match="size mismatch"):
        PackagedEncoder.load(tmp_path)


def test_uint8_and_float_inputs_agree(folder: Path, pixels: Tensor) -> None:
    packaged = PackagedEncoder.load(folder)
    with torch.no_grad():
        for images in (pixels, pixels[..., :17, :], pixels[..., :11].repeat(1, 1, 3, 1)):
            assert torch.equal(packaged(images), packaged(images.float() / 255))


@pytest.mark.parametrize(
    "kind",
    [
        torch.float16,
        torch.float64,
    ],
)
def test_every_kind_of_float_is_taken(folder: Path, pixels: Tensor, kind: torch.dtype) -> None:
    packaged = PackagedEncoder.load(folder)
    with torch.no_grad():
        features = packaged((pixels.float() / 255).to(kind))
        assert features.dtype == torch.float32
        torch.testing.assert_close(features, packaged(pixels), rtol=0.02, atol=0.02)


def test_other_sizes_are_resized_to_that_of_the_training(folder: Path) -> None:
    packaged = PackagedEncoder.load(folder)
    flat = torch.full((1, 3, 50, 31), 77, dtype=torch.uint8)
    assert packaged.normalise(flat).shape == (1, 3, 24, 24)
    torch.testing.assert_close(packaged.normalise(flat), normalised(flat[..., :24, :24]))


@pytest.mark.parametrize("size", [(24, 24), (1, 1), (7, 301), (301, 7), (25, 24), (640, 480)])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1"])
def test_pillow_images_of_any_size_become_squares(
    folder: Path, size: tuple[int, int], mode: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(mode)
    squares = PackagedEncoder.load(folder).preprocess([image, image])
    assert (squares.shape, squares.dtype) == ((2, 3, 24, 24), torch.uint8)
    expected = render_probe_view(np.asarray(image.convert("RGB")), 24)
    assert np.array_equal(squares[0].permute(1, 2, 0).numpy(), expected)
    assert torch.equal(squares[0], squares[1])


def deep_grey() -> Image.Image:
    return Image.fromarray(np.full((30, 30), 20_000, np.uint16))


def transparent() -> Image.Image:
    return Image.new("RGBA", (30, 30), (0, 0, 0, 0))


@pytest.mark.parametrize("make", [deep_grey, transparent])
def test_pillow_images_become_what_training_saw(folder: Path, make: Any) -> None:
    encoded = io.BytesIO()
    make().save(encoded, "PNG")
    seen = render_probe_view(decode_image(encoded.getvalue()), 24)
    (square,) = PackagedEncoder.load(folder).preprocess([make()])
    assert np.array_equal(square.permute(1, 2, 0).numpy(), seen)


def run_card(folder: Path, image: Path) -> dict[str, Any]:
    """What the card's code has computed, of a folder and an image in place of its words."""
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code.replace("FOLDER", str(folder)).replace("IMAGE", str(image)), names)
    return names


def test_the_code_on_the_card_runs_and_gives_the_features(
    folder: Path, pixels: Tensor, tmp_path: Path
) -> None:
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8))
    photograph = photograph.resize((600, 900), Image.Resampling.BICUBIC)
    photograph.save(tmp_path / "photo.png")
    names = run_card(folder, tmp_path / "photo.png")
    ours = PackagedEncoder.load(folder)
    with torch.no_grad():
        assert torch.equal(names["encoder"](normalised(pixels)), ours(pixels))
        expected = ours(ours.preprocess([photograph]))
        squeezed = ours(ours.preprocess([photograph.resize((24, 24))]))
    similarity = torch.nn.functional.cosine_similarity
    assert similarity(names["features"], expected).item() > 0.9999
    assert similarity(squeezed, expected).item() < 0.999


def test_the_card_tells_scores_provenance_and_recipe(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    cells = "0.812 [0.712, 0.912] | 0.500 [0.400, 0.600] | 0.250 [0.150, 0.350]"
    assert f"| kNN (k = 20, cosine, weighted) | {cells} |" in card
    assert "| kNN (k = 20, cosine, weighted), last layers | 0.700 [0.600, 0.800] | | |" in card
    assert f"| linear (logistic regression) | {cells} |" in card
    assert f"| naive Bayes (Gaussian, shared variance) | {cells} |" in card
    assert "- data fingerprint: `abc`" in card
    assert "```yaml\nseed: 0\n```" in card
    assert "24 x 24" in card
    assert "- samples: 60,000\n- left out by their ids: 1,200, listed in `excluded" in card
    assert "- quarantined because their bytes are damaged: 3" in card
    assert "- samples found bad by their pairs: 12 noisy, 0 faulty" in card
    assert "| RankMe, effective rank | 17.25 |" in card
    assert "Collapse alarm: silent." in card
    assert "## Cite\n\n- SimCLR (Chen et al., A Simple Framework" in card
    assert "crop: the largest centred square" in card


def test_the_hub_reads_the_cards_tags(folder: Path) -> None:
    data = ModelCard.load(folder / "README.md").data
    assert (data.library_name, data.pipeline_tag) == ("timm", "image-feature-extraction")
    assert "self-supervised-learning" in data.tags


def test_a_card_without_probes_says_so() -> None:
    card = model_card(CONFIG, CardFacts(run="simclr-1", recipe_yaml="seed: 0\n"))
    assert "None were run" in card
    assert "|" not in card
    assert "Cite" not in card


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"architecture": "resnet9999"}, "config.json: timm knows no architecture 'resnet9999'"),
        ({"architecture": "hf-hub:somebody/model"}, "timm knows no architecture 'hf-hub:somebody"),
        ({"model_args": {"bananas": 3}}, "timm cannot build what it describes: .*bananas"),
        ({"model_args": {"checkpoint_path": "x.pth"}}, "model_args may not have checkpoint_path"),
        ({"num_classes": 1000}, "num_classes: 1000 is wrong: input should be 0"),
        ({"preprocessing": None}, "preprocessing"),
    ],
)
def test_a_strangers_config_is_told(
    folder: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "SHA256SUMS").unlink()
    path = tmp_path / "copy" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UserError, match=told):
        pipeline.load_encoder(tmp_path / "copy")


@pytest.mark.parametrize("name", ["config.json", "encoder.safetensors", "SHA256SUMS"])
@pytest.mark.parametrize("data", [b"", b"{", bytes(range(256)), b"abc  ../../etc/passwd\n"])
def test_files_of_anything_are_told(folder: Path, tmp_path: Path, name: str, data: bytes) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "SHA256SUMS").unlink()
    (tmp_path / "copy" / name).write_bytes(data)
    if (name, data) == ("SHA256SUMS", b""):
        pipeline.load_encoder(tmp_path / "copy")
        return
    with pytest.raises(UserError, match=name):
        pipeline.load_encoder(tmp_path / "copy")
