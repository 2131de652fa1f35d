"""What heads and objectives need to know of the encoder that they are built for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from pipeline.encoders.backbone import feature_width
from pipeline.encoders.transformers.patches import encode_patches, patch_grid
from pipeline.errors import Problem, UserError


@dataclass(frozen=True, kw_only=True)
class PatchShape:
    """Of a vision transformer that can be trained on some of an image's patches."""

    grid: tuple[int, int]  # patches along the height and the width
    heads: int  # of its attention


def _no_patches() -> PatchShape:
    raise UserError(Problem("encoder.name", "has no patches to mask"))


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """Of what an encoder gives."""

    width: int  # D of its features
    size: int  # side of its images in pixels
    patch_shape: Callable[[], PatchShape] = _no_patches
    """Looks at its patches, or raises a UserError where there are none that could be masked."""


def encoder_shape(encoder: nn.Module, size: int) -> EncoderShape:
    """Look at an encoder.

    Args:
        encoder: a timm model without classifier.
        size: side of its images in pixels.

    Raises:
        UserError: it cannot encode such images.
    """
    return EncoderShape(
        width=feature_width(encoder, size),
        size=size,
        # Most objectives do not ask, and it takes two passes through the encoder.
        patch_shape=cache(partial(_patch_shape, encoder, size)),
    )


def _patch_shape(encoder: nn.Module, size: int) -> PatchShape:
    if not isinstance(encoder, VisionTransformer):
        raise UserError(
            Problem(
                "encoder.name",
                f"a {type(encoder).__name__} has no patches to mask; allowed: timm's vision "
                "transformers, such as vit_small_patch16_224",
            )
        )
    heads = getattr(getattr(encoder.blocks[0], "attn", None), "num_heads", None)
    if heads is None:
        raise UserError(
            Problem(
                "encoder.name",
                f"its blocks, {type(encoder.blocks[0]).__name__}, have no attention of one kind; "
                "allowed: plain vision transformers, such as vit_small_patch16_224",
            )
        )
    if not isinstance(encoder.patch_drop, nn.Identity):
        raise UserError(
            Problem("encoder.args.patch_drop_rate", "must be 0: masks say which patches are left")
        )
    if not _features_are_means(encoder, size):
        raise UserError(
            Problem(
                "encoder.args",
                "features must be the means of patches, which masks train; set "
                "class_token: false, global_pool: avg, fc_norm: false",
            )
        )
    return PatchShape(grid=patch_grid(encoder, size), heads=heads)


@torch.no_grad()
def _features_are_means(encoder: nn.Module, size: int) -> bool:
    """If not, what pools the patches would be left without gradient."""
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    was_training = encoder.training
    encoder.eval()
    means, features = encode_patches(encoder, images).mean(dim=1), encoder(images)
    encoder.train(was_training)
    return torch.allclose(features, means, atol=1e-4)
