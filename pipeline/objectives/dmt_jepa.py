"""DMT-JEPA: I-JEPA whose targets are aggregates of the neighbours that resemble a patch."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.encoders.ema import EMATwin
from pipeline.encoders.shape import EncoderShape
from pipeline.encoders.transformers.aggregation import AggregationHead
from pipeline.encoders.transformers.neighbours import most_similar, window_of
from pipeline.objectives.base import EncodedPatches, at_least_float32
from pipeline.objectives.configs.dmt_jepa import DMTJEPAConfig
from pipeline.objectives.ijepa import IJEPA, layer_normalised

_AT_ONCE = 32  # samples


class DMTJEPA(IJEPA):
    """Context and targets each pass an aggregation head; that of the targets is a twin's."""

    index: Tensor
    exists: Tensor

    def __init__(self, *, config: DMTJEPAConfig, encoder: EncoderShape) -> None:
        super().__init__(config=config, encoder=encoder)
        patches = encoder.patch_shape()
        self._neighbours = config.neighbours
        self.head = AggregationHead(width=encoder.width, heads=patches.heads)
        self.target_head = EMATwin(self.head)
        index, exists = window_of(patches.grid, config.window)
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("exists", exists, persistent=False)

    def context(self, seen: EncodedPatches) -> Tensor:
        """Visible tokens through the head."""
        return self.head.visible(seen.context)

    @torch.no_grad()
    def targets(self, seen: EncodedPatches) -> Tensor:
        """Aggregates of the most similar neighbours by the twin's head; they end in its norm."""
        # Neighbours are copies of tokens, eight for each: too many for all samples at once.
        parts = layer_normalised(seen.targets).split(_AT_ONCE)
        return torch.cat([self._aggregates(tokens) for tokens in parts])

    def _aggregates(self, tokens: Tensor) -> Tensor:
        near, exist = most_similar(tokens, self.index, self.exists, count=self._neighbours)
        head = self.target_head.module
        assert isinstance(head, AggregationHead)
        return at_least_float32(head.around(tokens, near, exist))

    def after_step(self, progress: float) -> None:
        """Move the twin's head."""
        self.target_head.follow(self.head, self.ema.momentum(progress))
