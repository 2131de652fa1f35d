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

from pipeline.encoders.autoencoders.autoencoder import Autoencoder
from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.encoders.embeddings import NO_AUTOENCODER, embedding
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
    features: FeaturesConfig | None = None,
    head: Objective | None = None,
    autoencoder: Autoencoder | None = None,
    batch: int = 256,
) -> Tensor:
    """Features of images, in eval mode, on the encoder's device.

    Args:
        encoder: from (B, 3, S, S) normalised to (B, D); a timm model for `patch_average` and
            `last_layers`.
        images: (N, S, S, 3) uint8.
        kind: `pooled`, the encoder's output; `patch_average`, the mean over patch tokens, or over
            positions of the last feature map, without class and register tokens; `last_layers`,
            the means over positions of the last stages' or blocks' maps, concatenated; `projector`,
            the head's output for the pooled features; for the others see `FeaturesConfig`.
        mean: RGB mean, in [0, 1].
        std: RGB deviation.
        last_layers: how many stages or blocks `last_layers` takes, at most as many as there are.
        features: what the encoder gives; `decoder_hidden` is its layer and pool, if it is of that
            kind.
        head: the objective, for `projector`.
        autoencoder: behind the encoder, for kinds that need it.
        batch: images encoded at once.

    Returns:
        (N, D) float32 on the CPU.

    Raises:
        ValueError: `projector` without a head, or kinds that need an autoencoder without it.
    """
    device = next(encoder.parameters()).device
    shift = torch.tensor(mean, device=device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=device).view(1, 3, 1, 1)
    found = []
    with ExitStack() as stack:
        for module in (encoder, head, autoencoder):
            if module is not None:
                stack.enter_context(_in_eval_mode(module))
        stack.enter_context(torch.inference_mode())
        encode = _encoding(
            encoder,
            kind,
            last_layers=last_layers,
            features=features,
            head=head,
            autoencoder=autoencoder,
        )
        for part in torch.from_numpy(images).split(batch):
            pixels = part.to(device).permute(0, 3, 1, 2).float() / 255
            found.append(encode((pixels - shift) / scale, pixels).float().cpu())
    return torch.cat(found)


def problems_of_kinds(
    kinds: Sequence[FeatureKind],
    *,
    setting: str,
    encoder: nn.Module,
    autoencoder: Autoencoder | None,
    has_head: bool = True,
) -> list[Problem]:
    """Kinds of features that there are not, each with those that there are.

    Args:
        kinds: that are wanted.
        setting: that names them, for the message.
        encoder: as `encode_images` takes it.
        autoencoder: behind the encoder, if there is exactly one.
        has_head: whether the objective's head is there too.
    """
    faults = {}
    if not hasattr(encoder, "forward_features"):
        faults[FeatureKind.patch_average] = "this encoder gives no feature maps"
    if not hasattr(encoder, "forward_intermediates"):
        faults[FeatureKind.last_layers] = "this encoder gives no feature maps"
    if not has_head:
        faults[FeatureKind.projector] = "a packaged encoder has no head"
    if autoencoder is None:
        coded = (FeatureKind.mean, FeatureKind.sample, FeatureKind.decoder_hidden)
        faults |= dict.fromkeys(coded, NO_AUTOENCODER)
    allowed = ", ".join(kind for kind in FeatureKind if kind not in faults)
    return [
        Problem(setting, f"{kind}: {faults[kind]}; allowed: {allowed}")
        for kind in kinds
        if kind in faults
    ]


def _encoding(
    encoder: nn.Module,
    kind: FeatureKind,
    *,
    last_layers: int,
    features: FeaturesConfig | None,
    head: Objective | None,
    autoencoder: Autoencoder | None,
) -> Callable[[Tensor, Tensor], Tensor]:
    """From normalised images and images in [0, 1], both (B, 3, S, S), to features (B, D)."""
    if kind == FeatureKind.patch_average:
        return lambda inputs, _: _patch_average(encoder, inputs)
    if kind == FeatureKind.last_layers:
        return lambda inputs, _: _last_layers(encoder, last_layers, inputs)
    if kind == FeatureKind.projector:
        if head is None:
            raise ValueError("projector features need the objective's head")
        return lambda inputs, _: head.project(encoder(inputs))
    wanted = (features or FeaturesConfig(kind="pooled")).of_kind(kind)
    return lambda inputs, pixels: embedding(
        encoder(inputs), pixels, wanted, autoencoder=autoencoder
    )


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
