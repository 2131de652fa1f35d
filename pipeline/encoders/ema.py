"""The EMA twin: a copy of a module whose weights follow an average of the module's."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class EMATwin(nn.Module):
    """Gives targets without gradient.

    Batch normalisation in it normalises as in the module itself, by the batch, and keeps running
    statistics of its own; dropout and drop-path are off, since a target should not be noisy.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = deepcopy(module).requires_grad_(False)
        self.train(module.training)

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """What the module would give, with the averaged weights."""
        outputs: Tensor = self.module(inputs)
        return outputs

    def train(self, mode: bool = True) -> Any:
        """Only batch normalisation is ever in training mode."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.training = mode
        return self

    @torch.no_grad()
    def follow(self, module: nn.Module, momentum: float) -> None:
        """Move towards the module's weights.

        Args:
            module: of the same structure as the one that the twin was made of.
            momentum: m; 0 copies the weights.
        """
        own: list[Tensor] = list(self.module.parameters())
        theirs: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(own, theirs, 1 - momentum)
