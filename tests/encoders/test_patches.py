"""Vision transformers that see some patches alone, and positions that are not trained."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from pipeline.encoders.backbone import build_backbone
from pipeline.encoders.configs.encoder import EncoderConfig
from pipeline.encoders.shape import PatchShape, encoder_shape
from pipeline.encoders.transformers.patches import encode_patches, take_tokens
from pipeline.encoders.transformers.positions import sincos_positions
from pipeline.errors import UserError
from tests.encoders.vit import GRID, PATCHES, SIZE, vit

pytestmark = pytest.mark.fast

MEANS = {"class_token": False, "global_pool": "avg", "fc_norm": False}


def images(count: int = 3) -> Tensor:
    return torch.randn(
        count, 3, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


def some_patches(count: int = 3, kept: int = 11) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.stack(
        [torch.randperm(PATCHES, generator=generator)[:kept].sort().values for _ in range(count)]
    )


def masked_whole_encoder(model: Any, pixels: Tensor, visible: Tensor) -> Tensor:
    """timm's own forward pass over all patches, of which hidden ones are no keys of attention."""
    prefix = model.num_prefix_tokens
    seen = torch.zeros(len(pixels), prefix + PATCHES, dtype=torch.bool)
    seen[:, :prefix] = True
    seen.scatter_(1, visible + prefix, value=True)
    tokens = model.forward_features(pixels, attn_mask=seen[:, None, None])
    return torch.stack([row[prefix:][index] for row, index in zip(tokens, visible, strict=True)])


@pytest.mark.parametrize(
    "arguments", [{}, {"reg_tokens": 2}, {"pre_norm": True}, {"dynamic_img_size": True}]
)
def test_visible_patches_are_encoded_as_by_the_whole_encoder_masked(
    arguments: dict[str, Any],
) -> None:
    model, visible = vit(**arguments), some_patches()
    found = encode_patches(model, images(), visible)
    torch.testing.assert_close(found, masked_whole_encoder(model, images(), visible))


def test_hidden_pixels_make_no_difference() -> None:
    model, visible, pixels = vit(), some_patches(1), images(1)
    patches = pixels.unfold(2, 4, 4).unfold(3, 4, 4)
    hidden = torch.ones(PATCHES, dtype=torch.bool)
    hidden[visible[0]] = False
    for number in hidden.nonzero().flatten().tolist():
        patches[:, :, number // GRID[1], number % GRID[1]] += 5
    changed = patches.permute(0, 1, 2, 4, 3, 5).reshape(pixels.shape)
    assert not torch.equal(changed, images(1))
    torch.testing.assert_close(
        encode_patches(model, changed, visible), encode_patches(model, images(1), visible)
    )


def test_features_are_the_means_of_all_patches() -> None:
    model = vit()
    torch.testing.assert_close(model(images()), encode_patches(model, images()).mean(dim=1))


def test_tokens_are_taken_row_by_row() -> None:
    tokens = torch.arange(24.0).view(2, 4, 3)
    index = torch.tensor([[[0, 3], [1, 1]], [[2, 0], [3, 2]]])
    found = take_tokens(tokens, index)
    assert found.shape == (2, 2, 2, 3)
    for row in range(2):
        assert torch.equal(found[row], tokens[row][index[row]])


def test_the_shape_of_an_encoder_with_patches() -> None:
    shape = encoder_shape(vit().float(), SIZE)
    assert shape.width == 16
    assert shape.patch_shape() == PatchShape(grid=GRID, heads=2)


@pytest.mark.parametrize(
    ("name", "arguments", "where"),
    [
        ("resnet10t", {}, "encoder.name"),
        ("vit_tiny_patch16_224", {"class_token": True, "global_pool": "token"}, "encoder.args"),
        ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}, "encoder.args"),
        ("vit_small_patch16_18x2_224", MEANS, "encoder.name"),
        (
            "vit_tiny_patch16_224",
            {**MEANS, "patch_drop_rate": 0.5},
            "encoder.args.patch_drop_rate",
        ),
    ],
)
def test_others_say_why_they_cannot_be_masked(
    name: str, arguments: dict[str, Any], where: str
) -> None:
    small = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 1}
    args = {**(small if "vit" in name else {}), **arguments}
    model = build_backbone(EncoderConfig(name=name, args=args))
    with pytest.raises(UserError) as caught:
        encoder_shape(model, 32).patch_shape()
    assert [problem.where for problem in caught.value.problems] == [where]


def test_a_grid_is_that_of_the_views() -> None:
    """Where an encoder takes images of several sizes."""
    model = vit(dynamic_img_size=True).float()
    for size, side in ((SIZE, 8), (2 * SIZE, 16), (SIZE // 2, 4)):
        assert encoder_shape(model, size).patch_shape().grid == (side, side)


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    table = sincos_positions((3, 5), 8)
    for patch in range(15):
        row, column = divmod(patch, 5)
        expected = [
            wave(place * frequency)
            for place in (row, column)
            for wave in (math.sin, math.cos)
            for frequency in (1.0, 0.01)
        ]
        assert table[patch].tolist() == pytest.approx(expected, abs=1e-6)


def test_positions_are_fixed_and_travel_with_the_weights() -> None:
    model = vit(reg_tokens=1)
    assert not model.pos_embed.requires_grad
    table = sincos_positions(GRID, 16)
    assert torch.equal(model.pos_embed[0, 1:], table.double())
    assert not model.pos_embed[0, 0].any()
    args = {"img_size": SIZE, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
    args |= {"class_token": False, "global_pool": "avg", "fc_norm": False, "reg_tokens": 1}
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=0, **args).double().eval()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(images()), model(images()))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("resnet10t", {}),
        ("vit_tiny_patch16_224", {"pos_embed": "none"}),
        ("vit_tiny_patch16_224", {"embed_dim": 18, "num_heads": 3}),
    ],
)
def test_encoders_without_such_positions_are_refused(name: str, args: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"encoder\.positions.*sincos"):
        build_backbone(EncoderConfig(name=name, args=args, positions="sincos"))
