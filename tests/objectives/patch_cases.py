"""Patches, masks and objectives that predict the one from the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from lightly.models.modules import IJEPAPredictorTIMM
from torch import Tensor

from pipeline.encoders.shape import EncoderShape, PatchShape
from pipeline.encoders.transformers.positions import sincos_positions
from pipeline.encoders.transformers.predictor import PatchPredictor
from pipeline.objectives.base import EncodedPatches, EncodedViews, Objective, PatchIndices
from pipeline.views.masks import MultiBlockConfig, draw_masks
from tests.encoders.vit import GRID, PATCHES, WIDTH
from tests.objectives.cases import MASKED, noise, section_of

BATCH = 5
PATCH_SHAPE = PatchShape(grid=GRID, heads=2)
SHAPE = EncoderShape(width=WIDTH, size=32, patch_shape=lambda: PATCH_SHAPE)
every = pytest.mark.parametrize("section", MASKED.values(), ids=MASKED.keys())


def build(section: dict[str, Any]) -> Objective:
    torch.manual_seed(0)
    objective: Objective = section_of(section).build(SHAPE, global_batch=BATCH).double()
    with torch.no_grad():
        for weight in objective.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return objective


def indices(batch: int = BATCH, mode: str = "corrected") -> PatchIndices:
    config = MultiBlockConfig.model_validate({"mode": mode})
    masks = draw_masks(config, grid=GRID, seed=4, epoch=0, step=0, sample_ids=np.arange(batch))
    return PatchIndices(*map(torch.from_numpy, (masks.context, masks.targets, masks.sizes)))


def padded_otherwise(chosen: PatchIndices) -> PatchIndices:
    """The same with other patches as padding."""
    draws = torch.Generator().manual_seed(5)
    others = torch.randint(PATCHES, chosen.blocks.shape, generator=draws)
    found = chosen._replace(blocks=torch.where(chosen.counted, chosen.blocks, others))
    assert (found.blocks != chosen.blocks).any(dim=2).sum() > 2
    return found


def views(
    batch: int = BATCH, *, requires_grad: bool = False, mode: str = "corrected"
) -> EncodedViews:
    chosen = indices(batch, mode)
    context = noise(batch, chosen.visible.shape[1], WIDTH, seed=3).requires_grad_(requires_grad)
    targets = noise(batch, PATCHES, WIDTH, seed=4)
    return EncodedViews(
        features=context.mean(dim=1)[None],
        global_views=1,
        patches=EncodedPatches(context=context, targets=targets, indices=chosen),
    )


def with_indices(given: EncodedViews, indices: PatchIndices) -> EncodedViews:
    assert given.patches is not None
    return replace(given, patches=replace(given.patches, indices=indices))


def whole_blocks(chosen: PatchIndices) -> Iterator[tuple[int, int, Tensor]]:
    """Sample, number and patches (n,) of every target block, without padding."""
    for sample, row in enumerate(chosen.blocks):
        for number, block in enumerate(row):
            yield sample, number, block[: int(chosen.sizes[sample, number])]


def predicted_alone(
    predictor: PatchPredictor, context: Tensor, visible: Tensor, sample: int, block: Tensor
) -> Tensor:
    """Of a block (n,) with neither padding nor other blocks and samples, (n, D)."""
    one, asked = slice(sample, sample + 1), block[None, None]
    everything = torch.ones(1, 1, len(block), dtype=torch.bool)
    found: Tensor = predictor(context[one], visible[one], asked, everything)[0, 0]
    return found


def lightlys(predictor: PatchPredictor) -> IJEPAPredictorTIMM:
    """Its module with the same weights."""
    other = IJEPAPredictorTIMM(
        num_patches=PATCHES, depth=1, mlp_dim=WIDTH, predictor_embed_dim=16, num_heads=2
    ).double()
    names = {
        "embed.": "predictor_embed.",
        "output.": "predictor_proj.",
        "blocks.": "decoder.blocks.",
        "norm.": "decoder.norm.",
        "mask_token": "decoder.mask_token",
    }
    state = {}
    for name, value in predictor.state_dict().items():
        (begin,) = (begin for begin in names if name.startswith(begin))
        state[name.replace(begin, names[begin], 1)] = value
    state["decoder.pos_embed"] = sincos_positions(GRID, 16).double()[None]
    other.load_state_dict(state)
    return other.eval()
