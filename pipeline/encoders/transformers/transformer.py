"""What narrow transformers beside the encoder have in common."""

from __future__ import annotations

from functools import partial

import torch
from timm.models.vision_transformer import Block
from torch import nn

LAYER_NORM = partial(nn.LayerNorm, eps=1e-6)


def blocks(width: int, *, depth: int, heads: int) -> nn.ModuleList:
    """Pre-norm blocks as in a timm vision transformer, each from and to (B, n, width)."""
    return nn.ModuleList(
        Block(width, heads, qkv_bias=True, norm_layer=LAYER_NORM) for _ in range(depth)
    )


def initialise(module: nn.Module) -> None:
    """Weights of linear layers from a normal distribution cut at two deviations of 0.02, biases 0.

    I-JEPA's, which does without the scaling by depth that its code has and undoes.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def mask_token(width: int) -> nn.Parameter:
    """(1, 1, width): what stands for a patch that is to be predicted."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02))
