"""Projection and prediction heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from pipeline.encoders.configs.heads import HiddenWidths as HiddenWidths
from pipeline.encoders.configs.heads import Widths as Widths


def mlp(
    in_features: int,
    widths: Sequence[int],
    *,
    hidden_norm: bool = True,
    output_norm: bool = False,
) -> nn.Sequential:
    """Linear layers with ReLU between them.

    Args:
        in_features: width of the input.
        widths: hidden widths and, last, the width of the output.
        hidden_norm: batch normalisation before each ReLU.
        output_norm: batch normalisation of the output, without weights of its own.

    Returns:
        A module from (B, in_features) to (B, widths[-1]).
    """
    layers: list[nn.Module] = []
    for width in widths[:-1]:
        layers.append(nn.Linear(in_features, width, bias=not hidden_norm))
        if hidden_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.ReLU())
        in_features = width
    layers.append(nn.Linear(in_features, widths[-1], bias=not output_norm))
    if output_norm:
        layers.append(nn.BatchNorm1d(widths[-1], affine=False))
    return nn.Sequential(*layers)


class MultiHead(nn.Module):
    """Several heads side by side: from (B, D) to (B, C, P)."""

    def __init__(self, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, inputs: Tensor) -> Tensor:
        """Each head's output for (B, D), or for its own part of (B, C, D)."""
        parts = inputs.unbind(1) if inputs.ndim == 3 else [inputs] * len(self.heads)
        return torch.stack(
            [head(part) for head, part in zip(self.heads, parts, strict=True)], dim=1
        )
