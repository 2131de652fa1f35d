"""A small vision transformer for tests of masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pipeline.encoders.backbone import build_backbone
from pipeline.encoders.configs.encoder import EncoderConfig

SIZE = 32
PATCH = 4
GRID = (SIZE // PATCH, SIZE // PATCH)
PATCHES = GRID[0] * GRID[1]
WIDTH = 16
SECTION: dict[str, Any] = {
    "name": "vit_tiny_patch16_224",
    "args": {
        "img_size": SIZE,
        "patch_size": PATCH,
        "embed_dim": WIDTH,
        "depth": 2,
        "num_heads": 2,
        "class_token": False,
        "global_pool": "avg",
        "fc_norm": False,
    },
    "positions": "sincos",
}
"""Of a recipe."""


def vit(**arguments: Any) -> nn.Module:
    """Features are means of patches; weights of one seed, none of them 0, in float64."""
    torch.manual_seed(0)
    config = EncoderConfig.model_validate({**SECTION, "args": {**SECTION["args"], **arguments}})
    model = build_backbone(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn(weight.shape))
    return model.double().eval()
