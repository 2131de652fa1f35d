"""Projection heads."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def projector(in_features: int, widths: Sequence[int]) -> nn.Sequential:
    """An MLP with batch normalisation and ReLU after every layer but the last, as in SimCLR v1.

    Args:
        in_features: width of the encoder's features.
        widths: hidden widths and, last, the width of the projection.

    Returns:
        A module from (B, in_features) to (B, widths[-1]).
    """
    layers: list[nn.Module] = []
    for width in widths[:-1]:
        layers += [nn.Linear(in_features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        in_features = width
    layers.append(nn.Linear(in_features, widths[-1]))
    return nn.Sequential(*layers)
