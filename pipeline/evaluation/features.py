"""What of an encoder a probe looks at, computed for a set of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import Problem
from pipeline.evaluation.config import FeatureKind
from pipeline.objectives.base import Objective

Images = npt.NDArray[np.uint8]

_RAW_SIDE = 32


def encode_images(
    encoder: nn.Module,
    images: Images,
    *,
    kind: FeatureKind = FeatureKind.pooled,
    mean: Sequence[float],
    std: Sequence[float],
    last_layers: int = 4,
    head: Objective | None = None,
    batch: int = 256,
) -> Tensor:
    """Features of images, in eval mode, on the encoder's device.

    Args:
        encoder: from (B, 3, S, S) normalised to (B, D); a timm model for kinds but `pooled` and
            `projector`.
        images: (N, S, S, 3) uint8.
        kind: `pooled`, the encoder's output; `patch_average`, the mean over patch tokens, or over
            positions of the last feature map, without class and register tokens; `last_layers`,
            the means over positions of the last stages' or blocks' maps, concatenated; `projector`,
            the head's output for the pooled features.
        mean: RGB mean, in [0, 1].
        std: RGB deviation.
        last_layers: how many stages or blocks `last_layers` takes, at most as many as there are.
        head: the objective, for `projector`.
        batch: images encoded at once.

    Returns:
        (N, D) float32 on the CPU.

    Raises:
        ValueError: `projector` without a head.
    """
    device = next(encoder.parameters()).device
    shift = torch.tensor(mean, device=device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=device).view(1, 3, 1, 1)
    features = []
    with ExitStack() as stack:
        for module in (encoder, head):
            if module is not None:
                stack.enter_context(_in_eval_mode(module))
        stack.enter_context(torch.inference_mode())
        encode = _encoding(encoder, kind, last_layers=last_layers, head=head)
        for part in torch.from_numpy(images).split(batch):
            pixels = part.to(device).permute(0, 3, 1, 2).float() / 255
            features.append(encode((pixels - shift) / scale).float().cpu())
    return torch.cat(features)


def problems_of_kinds(
    encoder: nn.Module, kinds: Sequence[FeatureKind], *, setting: str
) -> list[Problem]:
    """Kinds of features that an encoder cannot give.

    Args:
        encoder: as `encode_images` takes it.
        kinds: that are wanted.
        setting: that names them, for the message.
    """
    needed = {
        FeatureKind.patch_average: "forward_features",
        FeatureKind.last_layers: "forward_intermediates",
    }
    return [
        Problem(setting, f"{kind}: this encoder gives no feature maps; allowed: pooled")
        for kind in kinds
        if kind in needed and not hasattr(encoder, needed[kind])
    ]


def _encoding(
    encoder: nn.Module, kind: FeatureKind, *, last_layers: int, head: Objective | None
) -> Callable[[Tensor], Tensor]:
    if kind == FeatureKind.pooled:
        return encoder
    if kind == FeatureKind.patch_average:
        return partial(_patch_average, encoder)
    if kind == FeatureKind.last_layers:
        return partial(_last_layers, encoder, last_layers)
    if head is None:
        raise ValueError("projector features need the objective's head")
    return lambda pixels: head.project(encoder(pixels))


def _patch_average(encoder: nn.Module, pixels: Tensor) -> Tensor:
    """(B, D) mean of what the encoder pools, without the tokens that stand for no position."""
    found: Tensor = _method(encoder, "forward_features")(pixels)
    if found.ndim == 3:
        return found[:, getattr(encoder, "num_prefix_tokens", 0) :].mean(dim=1)
    # timm's models say so when their maps have channels last.
    positions = (1, 2) if getattr(encoder, "output_fmt", "NCHW") == "NHWC" else (2, 3)
    return found.mean(dim=positions)


def _last_layers(encoder: nn.Module, wanted: int, pixels: Tensor) -> Tensor:
    """(B, sum of D) means over positions of the last maps, in the order of the layers."""
    maps_of = partial(
        _method(encoder, "forward_intermediates"),
        intermediates_only=True,
        norm=True,
        output_fmt="NCHW",
    )
    # timm refuses to give more maps than there are, and has no common name for their number.
    available = len(maps_of(pixels[:1]))
    maps: list[Tensor] = maps_of(pixels, indices=min(wanted, available))
    return torch.cat([layer.mean(dim=(2, 3)) for layer in maps], dim=1)


def _method(encoder: nn.Module, name: str) -> Callable[..., Any]:
    """A method of timm's models, which torch's stubs take for a tensor."""
    method: Callable[..., Any] = getattr(encoder, name)
    return method


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def raw_pixels(images: Images) -> Tensor:
    """Pixels as features, (N, s * s * 3) float32 in [0, 1].

    Images of more than 32 pixels a side are averaged down to s = 32: a linear probe on 150,000
    features of a photograph would take more memory and time than the training.
    """
    if images.shape[1] <= _RAW_SIDE:
        return torch.from_numpy(images).flatten(1).float() / 255
    reduced = [
        F.adaptive_avg_pool2d(part.permute(0, 3, 1, 2).float(), _RAW_SIDE).flatten(1)
        for part in torch.from_numpy(images).split(256)
    ]
    return torch.cat(reduced) / 255
