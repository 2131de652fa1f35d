"""Features of each kind against what one computes by hand from the model's parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch
from torch import Tensor, nn

from pipeline.encoders.autoencoders.autoencoder import Autoencoder, build_autoencoder
from pipeline.encoders.configs.autoencoder import AutoencoderConfig
from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.encoders.embeddings import embedding
from pipeline.encoders.shape import EncoderShape
from pipeline.evaluation.config import FeatureKind
from pipeline.evaluation.features import encode_images, problems_of_kinds, raw_pixels
from pipeline.objectives.base import Objective
from pipeline.objectives.configs.simclr import SimCLRConfig

pytestmark = pytest.mark.fast

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
Images = npt.NDArray[np.uint8]


def images(count: int, *, size: int = 32) -> Images:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def normalised(pixels: Images) -> Tensor:
    scaled = (pixels.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return torch.from_numpy(scaled.transpose(0, 3, 1, 2).copy())


def encoded(encoder: nn.Module, pixels: Images, kind: FeatureKind, **options: object) -> Tensor:
    return encode_images(encoder, pixels, kind=kind, mean=MEAN, std=STD, **options)


@pytest.fixture
def resnet() -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(
        "resnet10t", num_classes=0, channels=[8, 16, 16, 32], stem_width=8, drop_rate=0.5
    )
    model.train()(torch.randn(8, 3, 32, 32))
    return model.eval()


def vit(**options: object) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes, **options).eval()


@pytest.fixture
def head() -> Objective:
    torch.manual_seed(0)
    objective = SimCLRConfig(projector=(16, 8)).build(
        EncoderShape(width=32, size=32), global_batch=8
    )
    objective.train().project(torch.randn(9, 32))  # running statistics away from their start
    return objective


def autoencoder_of(width: int) -> Autoencoder:
    torch.manual_seed(0)
    decoder = {"kind": "conv", "channels": [16, 8]}
    config = AutoencoderConfig.model_validate({"width": 6, "decoder": decoder})
    return build_autoencoder(config, feature_width=width, size=32)


@pytest.mark.parametrize(
    "options", [{}, {"reg_tokens": 3}, {"class_token": False, "global_pool": "avg"}]
)
@torch.no_grad()
def test_patch_average_of_a_vit_leaves_prefix_tokens_out(options: dict[str, object]) -> None:
    model, pixels = vit(**options), images(5)
    tokens = model.forward_features(normalised(pixels))
    prefix = tokens.shape[1] - 16
    assert prefix == {"reg_tokens": 4, "class_token": 0}.get(next(iter(options), ""), 1)
    found = encoded(model, pixels, FeatureKind.patch_average)
    torch.testing.assert_close(found, tokens[:, prefix:].mean(dim=1))


def test_patch_average_of_a_pooled_resnet_is_its_output(resnet: nn.Module) -> None:
    found = encoded(resnet, images(5), FeatureKind.patch_average)
    torch.testing.assert_close(found, encoded(resnet, images(5), FeatureKind.pooled))


def test_patch_average_of_maps_with_channels_last() -> None:
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 8}
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=0, depths=(1, 1), num_heads=(1, 2), **sizes
    ).eval()
    found = encoded(model, images(3), FeatureKind.patch_average)
    torch.testing.assert_close(found, encoded(model, images(3), FeatureKind.pooled))


def hooked(model: nn.Module, parts: list[nn.Module], pixels: Images) -> list[Tensor]:
    outputs: list[Tensor] = []
    hooks = [part.register_forward_hook(lambda *args: outputs.append(args[2])) for part in parts]
    with torch.no_grad():
        model(normalised(pixels))
    for hook in hooks:
        hook.remove()
    return outputs


@pytest.mark.parametrize("wanted", [1, 3, 5, 9])
def test_last_layers_of_a_resnet_are_means_of_its_stages(resnet: nn.Module, wanted: int) -> None:
    stages = [resnet.act1, resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4]
    maps = hooked(resnet, stages, images(4))
    expected = torch.cat([m.mean(dim=(2, 3)) for m in maps[-wanted:]], dim=1)
    found = encoded(resnet, images(4), FeatureKind.last_layers, last_layers=wanted)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("wanted", [1, 2, 4])
@torch.no_grad()
def test_last_layers_of_a_vit_are_means_of_normed_blocks(wanted: int) -> None:
    model = vit(reg_tokens=2)
    tokens = hooked(model, list(model.blocks), images(4))[-wanted:]
    expected = torch.cat([model.norm(t)[:, 3:].mean(dim=1) for t in tokens], dim=1)
    found = encoded(model, images(4), FeatureKind.last_layers, last_layers=wanted)
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_projector_is_the_head_after_the_encoder(resnet: nn.Module, head: Objective) -> None:
    found = encoded(resnet, images(5), FeatureKind.projector, head=head)
    expected = head.eval().project(resnet(normalised(images(5))))
    torch.testing.assert_close(found, expected)
    assert found.shape == (5, 8)
    with pytest.raises(ValueError, match="need the objective's head"):
        encoded(resnet, images(5), FeatureKind.projector)


@torch.no_grad()
def test_embeddings_are_of_the_output_and_of_the_images_in_0_to_1(resnet: nn.Module) -> None:
    autoencoder, pixels = autoencoder_of(32).eval(), images(5)
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    layer = FeaturesConfig(kind="decoder_hidden", layer=0, pool="last")
    for given in (None, FeaturesConfig(kind="mean"), layer):
        for kind in (FeatureKind.mean, FeatureKind.sample, FeatureKind.decoder_hidden):
            wanted = layer if (kind, given) == (layer.kind, layer) else FeaturesConfig(kind=kind)
            found = encoded(resnet, pixels, kind, features=given, autoencoder=autoencoder)
            expected = embedding(
                resnet(normalised(pixels)), scaled, wanted, autoencoder=autoencoder
            )
            torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="need an autoencoder"):
        encoded(resnet, pixels, FeatureKind.sample)


@pytest.mark.parametrize("kind", list(FeatureKind))
@pytest.mark.parametrize("training", [True, False])
def test_eval_mode_is_kept_to_and_modes_are_restored(
    resnet: nn.Module, head: Objective, kind: FeatureKind, training: bool
) -> None:
    autoencoder = autoencoder_of(32)
    found_with = {"head": head, "autoencoder": autoencoder}
    expected = encoded(resnet, images(5), kind, **found_with)
    parts = [
        *resnet.train(training).modules(),
        *head.train(training).modules(),
        *autoencoder.train(training).modules(),
    ]
    frozen = next(part for part in parts if isinstance(part, nn.BatchNorm2d))
    frozen.eval()
    states = [{k: v.clone() for k, v in part.state_dict().items()} for part in (resnet, head)]
    found = encoded(resnet, images(5), kind, **found_with)
    torch.testing.assert_close(found, expected)
    assert (found.dtype, found.requires_grad) == (torch.float32, False)
    assert all(part.training == training for part in parts if part is not frozen)
    assert not frozen.training
    for part, before in zip((resnet, head), states, strict=True):
        assert all(torch.equal(value, before[name]) for name, value in part.state_dict().items())


def test_modules_whose_encoding_failed_keep_their_mode() -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).train()
    with pytest.raises(RuntimeError):
        encoded(encoder, images(2, size=2), FeatureKind.pooled)
    assert encoder.training


@pytest.mark.parametrize("kind", list(FeatureKind))
@pytest.mark.parametrize("make", [lambda resnet: resnet, lambda _: vit()], ids=["resnet", "vit"])
def test_the_batch_size_does_not_matter(
    resnet: nn.Module,
    kind: FeatureKind,
    make: Callable[[nn.Module], nn.Module],
) -> None:
    encoder = make(resnet)
    head = (
        SimCLRConfig(projector=(16, 8))
        .build(EncoderShape(width=encoder.num_features, size=32), global_batch=8)
        .eval()
    )
    parts = {"head": head, "autoencoder": autoencoder_of(encoder.num_features)}
    whole = encoded(encoder, images(7), kind, **parts)
    torch.testing.assert_close(encoded(encoder, images(7), kind, **parts, batch=3), whole)
    assert len(whole) == 7


def test_kinds_that_there_are_not_are_told_with_those_that_there_are() -> None:
    plain, kinds = nn.Sequential(nn.Flatten()), list(FeatureKind)
    autoencoder = autoencoder_of(8)
    everything = problems_of_kinds(
        kinds, setting="features", encoder=vit(), autoencoder=autoencoder
    )
    assert everything == []
    found = problems_of_kinds(
        kinds, setting="features", encoder=plain, autoencoder=None, has_head=False
    )
    no_codes = "needs one autoencoder behind the encoder, as mim, a_mim and cmim train it"
    faults = {
        "patch_average": "this encoder gives no feature maps",
        "last_layers": "this encoder gives no feature maps",
        "projector": "a packaged encoder has no head",
        "mean": no_codes,
        "sample": no_codes,
        "decoder_hidden": no_codes,
    }
    told = [("features", f"{kind}: {fault}; allowed: pooled") for kind, fault in faults.items()]
    assert found == told
    (one,) = problems_of_kinds(
        [FeatureKind.mean], setting="features", encoder=vit(), autoencoder=None
    )
    assert one.message.endswith("allowed: pooled, patch_average, last_layers, projector")


def test_raw_pixels_are_scaled_to_one() -> None:
    pixels = images(4, size=6)
    assert torch.equal(raw_pixels(pixels), torch.from_numpy(pixels.reshape(4, -1)) / 255)


def test_raw_pixels_of_photographs_are_averaged_down() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    expected = images.reshape(3, 32, 2, 32, 2, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(raw_pixels(images), expected.reshape(3, -1), rtol=1e-5)
    small = images[:, :32, :32]
    np.testing.assert_allclose(raw_pixels(small), small.reshape(3, -1) / 255, rtol=1e-6)
