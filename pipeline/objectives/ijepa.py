"""I-JEPA: what is visible of an image predicts what a twin makes of hidden blocks of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import collectives
from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.shape import EncoderShape
from pipeline.encoders.transformers.patches import take_tokens
from pipeline.encoders.transformers.predictor import PatchPredictor
from pipeline.objectives.base import (
    Capabilities,
    EncodedPatches,
    EncodedViews,
    Objective,
    PairLosses,
    at_least_float32,
)
from pipeline.objectives.configs.ijepa import PatchPredictionConfig


class IJEPA(Objective):
    """Smooth-L1 distance of predicted and normalised target tokens; V target blocks."""

    capabilities = Capabilities(views=1, mining="per_sample", arbitration="none")
    ema: EMAConfig

    def __init__(self, *, config: PatchPredictionConfig, encoder: EncoderShape) -> None:
        super().__init__(feature_width=encoder.width, projector=nn.Identity())
        patches = encoder.patch_shape()
        self.ema = config.ema
        self.grid = patches.grid
        self.predictor = PatchPredictor(
            config=config.predictor, width=encoder.width, patches=patches
        )

    def forward(self, views: EncodedViews) -> PairLosses:
        """A loss for each target block; the blocks' mean predictions are the projections.

        Equation 1 of the paper with the distance of the official code, smooth-L1, over all patches
        of a block that count and all dimensions.
        """
        assert views.patches is not None
        seen, indices = views.patches, views.patches.indices
        counted = indices.counted
        predicted = at_least_float32(
            self.predictor(self.context(seen), indices.visible, indices.blocks, counted)
        )
        targets = take_tokens(self.targets(seen), indices.blocks)
        distances = F.smooth_l1_loss(predicted, targets, reduction="none")
        loss = block_means(distances, counted).mean(dim=2)
        return PairLosses(
            loss=loss.T,
            evidence=relative_to_size(loss.detach(), indices.sizes, patches=seen.targets.shape[1]),
            projections=block_means(predicted, counted).transpose(0, 1),
        )

    def context(self, seen: EncodedPatches) -> Tensor:
        """What the predictor is given of the visible patches, (B, Kc, D)."""
        return seen.context

    def targets(self, seen: EncodedPatches) -> Tensor:
        """What is to be predicted of all patches, (B, n, D), without gradient."""
        return layer_normalised(seen.targets)


def layer_normalised(tokens: Tensor) -> Tensor:
    """Tokens with mean 0 and variance 1 over their dimensions, at least float32, no gradient."""
    return F.layer_norm(at_least_float32(tokens.detach()), tokens.shape[-1:])


def block_means(values: Tensor, counted: Tensor) -> Tensor:
    """Means over the patches that count: of (B, V, Kp, D), by bool (B, V, Kp), to (B, V, D)."""
    own = counted[..., None]
    return values.masked_fill(~own, 0).sum(dim=2) / own.sum(dim=2)


@torch.no_grad()
def relative_to_size(loss_BV: Tensor, sizes_BV: Tensor, *, patches: int) -> Tensor:
    """Each sample's mean loss, every block's by the global batch's mean for blocks of its size.

    Larger blocks are harder to predict, which is no fault of the sample. Every rank calls this.

    Args:
        loss_BV: of each target block.
        sizes_BV: int64, patches of each block, at most `patches`.
        patches: of an image.

    Returns:
        (B,), 1 on average over the global batch.
    """
    sums = loss_BV.new_zeros(2, patches + 1)
    sizes = sizes_BV.flatten()
    sums[0].index_add_(0, sizes, loss_BV.flatten())
    sums[1].index_add_(0, sizes, torch.ones_like(loss_BV).flatten())
    total, count = collectives.all_sum(sums)
    return (loss_BV / (total / count)[sizes_BV]).mean(dim=1)
