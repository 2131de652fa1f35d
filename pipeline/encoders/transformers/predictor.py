"""The predictor of JEPA: from visible patches to what the target encoder makes of hidden ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.configs.predictor import PredictorConfig
from pipeline.encoders.shape import PatchShape
from pipeline.encoders.transformers.positions import sincos_positions
from pipeline.encoders.transformers.transformer import LAYER_NORM, blocks, initialise, mask_token
from pipeline.errors import Problem, UserError


class PatchPredictor(nn.Module):
    """Predicts each target block on its own, of all that is visible (I-JEPA, section 3)."""

    positions: Tensor

    def __init__(self, *, config: PredictorConfig, width: int, patches: PatchShape) -> None:
        """Build it.

        Args:
            config: its size.
            width: D of the encoder.
            patches: of the encoder.

        Raises:
            UserError: the heads do not divide the width.
        """
        super().__init__()
        heads = config.heads or patches.heads
        if config.width % heads:
            raise UserError(
                Problem(
                    "objective.predictor",
                    f"width {config.width} is no multiple of its {heads} heads; allowed: heads "
                    "that divide it",
                )
            )
        self.embed = nn.Linear(width, config.width)
        self.blocks = blocks(config.width, depth=config.depth, heads=heads)
        self.norm = LAYER_NORM(config.width)
        self.output = nn.Linear(config.width, width)
        initialise(self)
        self.mask_token = mask_token(config.width)
        self.register_buffer(
            "positions", sincos_positions(patches.grid, config.width), persistent=False
        )

    def forward(self, context: Tensor, visible: Tensor, blocks: Tensor, counted: Tensor) -> Tensor:
        """Predict target blocks, of which none sees another and nothing sees padding.

        Args:
            context: (B, Kc, D) tokens of visible patches.
            visible: (B, Kc) int64, which patches these are.
            blocks: (B, V, Kp) int64, patches of target blocks, padding included.
            counted: (B, V, Kp) bool, which of them are no padding.

        Returns:
            (B, V, Kp, D), of no meaning where padding is.
        """
        count, size = blocks.shape[1:]
        seen = self.embed(context) + self.positions[visible]
        asked = self.mask_token + self.positions[blocks.flatten(0, 1)]
        tokens = torch.cat([seen.repeat_interleave(count, dim=0), asked], dim=1)
        may_be_seen = F.pad(counted.flatten(0, 1), (context.shape[1], 0), value=True)[:, None, None]
        for block in self.blocks:
            tokens = block(tokens, attn_mask=may_be_seen)
        predicted: Tensor = self.output(self.norm(tokens[:, -size:]))
        return predicted.unflatten(0, blocks.shape[:2])
