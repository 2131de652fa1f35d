"""Vision transformers patch by patch: tokens of all patches, or of the visible ones alone."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pipeline.encoders.transformers.positions import sincos_positions
from pipeline.errors import Problem, UserError


def encode_patches(encoder: nn.Module, images: Tensor, visible: Tensor | None = None) -> Tensor:
    """Tokens of patches behind the last norm; attention is among the visible ones alone.

    Args:
        encoder: as `encoder_shape` accepts it for patches.
        images: (B, 3, S, S) float.
        visible: (B, K) int64, which patches are encoded, in raster order; None: all. What is left
            out costs nothing but its embedding.

    Returns:
        (B, K, D).
    """
    assert isinstance(encoder, VisionTransformer)
    tokens = encoder._pos_embed(encoder.patch_embed(images))
    if visible is not None:
        registers, patches = tokens.tensor_split([encoder.num_prefix_tokens], dim=1)
        tokens = torch.cat([registers, take_tokens(patches, visible)], dim=1)
    tokens = encoder.norm(encoder.blocks(encoder.norm_pre(tokens)))
    return tokens[:, encoder.num_prefix_tokens :]


def patch_grid(encoder: nn.Module, size: int) -> tuple[int, int]:
    """Patches along the height and the width of images with this side in pixels."""
    assert isinstance(encoder, VisionTransformer)
    rows, columns = (
        encoder.patch_embed.dynamic_feat_size((size, size))
        if encoder.dynamic_img_size
        else encoder.patch_embed.grid_size
    )
    return rows, columns


def take_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Each row's tokens at its places: (B, n, D) and (B, ...) int64 to (B, ..., D)."""
    flat = index.flatten(1)
    taken = tokens.gather(1, flat[..., None].expand(-1, -1, tokens.shape[-1]))
    return taken.unflatten(1, index.shape[1:])


def fix_positions(encoder: nn.Module) -> None:
    """Give a vision transformer sine-cosine positions, which are not trained.

    Raises:
        UserError: it has no positions of patches, or their width is no multiple of 4.
    """
    positions = getattr(encoder, "pos_embed", None)
    if not isinstance(encoder, VisionTransformer) or positions is None:
        raise UserError(
            Problem("encoder.positions", "sincos, but the encoder has no positions; allowed: timm")
        )
    if positions.shape[-1] % 4:
        raise UserError(
            Problem(
                "encoder.positions",
                f"sincos needs a width that is a multiple of 4, the encoder's is "
                f"{positions.shape[-1]}; allowed: timm",
            )
        )
    table = sincos_positions(encoder.patch_embed.grid_size, positions.shape[-1])
    positions.requires_grad_(False)
    prefix = positions.shape[1] - len(table)  # class token and registers have none
    with torch.no_grad():
        positions.zero_()[0, prefix:] = table
