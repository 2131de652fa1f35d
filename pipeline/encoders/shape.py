"""What heads and objectives need to know of the encoder that they are built for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from pipeline.encoders.backbone import feature_width
from pipeline.encoders.patches import encode_patches, patch_grid
from pipeline.errors import Problem, UserError


@dataclass(frozen=True, kw_only=True)
class PatchShape:
    """Of a vision transformer that can be trained on some of an image's patches."""

    grid: tuple[int, int]  # patches along the height and the width
    heads: int  # of its attention


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """Of what an encoder gives."""

    width: int  # D of its features
    patches: PatchShape | Problem | None = None  # or why there are none to mask

    def patch_shape(self) -> PatchShape:
        """The shape, for an objective that needs patches.

        Raises:
            UserError: the encoder has none that could be masked.
        """
        if isinstance(self.patches, PatchShape):
            return self.patches
        raise UserError(self.patches or Problem("encoder.name", "has no patches to mask"))


def encoder_shape(encoder: nn.Module, size: int) -> EncoderShape:
    """Look at an encoder.

    Args:
        encoder: a timm model without classifier.
        size: side of its images in pixels.

    Raises:
        UserError: it cannot encode such images.
    """
    width = feature_width(encoder, size)
    return EncoderShape(width=width, patches=_patches(encoder, size))


@torch.no_grad()
def _patches(encoder: nn.Module, size: int) -> PatchShape | Problem:
    if not isinstance(encoder, VisionTransformer):
        return Problem(
            "encoder.name",
            f"a {type(encoder).__name__} has no patches to mask; allowed: timm's vision "
            "transformers, such as vit_small_patch16_224",
        )
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    was_training = encoder.training
    encoder.eval()
    means, features = encode_patches(encoder, images).mean(dim=1), encoder(images)
    encoder.train(was_training)
    # A class token, or a norm behind the mean, would be left without gradient.
    if not torch.allclose(features, means, atol=1e-4):
        return Problem(
            "encoder.args",
            "features must be the means of patches, which masks train; needed: "
            "class_token: false, global_pool: avg, fc_norm: false",
        )
    return PatchShape(grid=patch_grid(encoder), heads=encoder.blocks[0].attn.num_heads)
