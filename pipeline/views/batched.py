"""Executes view parameters on the training device, in batches, after a read task's crops.

Each operation takes and gives uint8 images (N, S, S, 3), computes in float32, rounds like the CPU
executor and stays within 2/255 of torchvision's functional one on uint8 images. None of them adds
up across images, so an image comes out the same in any batch; and none multiplies matrices, which
a GPU may be set to do in fewer bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.views.arrays import Bools, Floats, Ints
from pipeline.views.kernels import LUMA, blur_kernel, yiq_rotation
from pipeline.views.parameters import Appearance, HueShift, ImageViews, draw_appearance


def finish_views(
    views: tuple[Tensor, ...], *, config: ImageViews, seed: int, epoch: int, sample_ids: Ints
) -> tuple[Tensor, ...]:
    """Do what the read tasks left undone under `executor: device`.

    Args:
        views: cropped and resized, a block for each crop size: (B, V, S, S, 3) uint8.
        config: the augmentations.
        seed: the run's seed.
        epoch: counted from 0.
        sample_ids: (B,) int64, on the CPU.

    Returns:
        New blocks of the same shapes, on the same device.
    """
    finished, first = [], 0
    for block in views:
        batch, count = block.shape[:2]
        appearance = draw_appearance(
            config,
            seed=seed,
            epoch=epoch,
            sample_ids=np.tile(sample_ids, count),
            view=np.repeat(np.arange(first, first + count), batch),
        )
        images = torch.cat(block.unbind(1))
        _change(images, appearance, hue=config.hue)
        finished.append(images.unflatten(0, (count, batch)).transpose(0, 1))
        first += count
    return tuple(finished)


def _change(images: Tensor, p: Appearance, *, hue: HueShift) -> None:
    _replace(images, p.flip, flip)
    _replace(images, p.angle != 0, rotate, p.angle)
    _jitter(images, p, hue=hue)
    _replace(images, p.grayscale, to_grey)
    _replace(images, p.blur_sigma > 0, blur, p.blur_sigma)
    _replace(images, p.solarize, solarize)


def _jitter(images: Tensor, p: Appearance, *, hue: HueShift) -> None:
    operations: list[tuple[Callable[..., Tensor], Floats]] = [
        (scale_brightness, p.brightness),
        (scale_contrast, p.contrast),
        (scale_saturation, p.saturation),
        (shift_hue, p.hue) if hue == "hsv" else (mix_channels, yiq_rotation(p.hue)),
    ]
    for place in range(4):
        for number, (operation, parameter) in enumerate(operations):
            chosen = p.jitter & (p.colour_order[:, place] == number)
            _replace(images, chosen, operation, parameter)


def _replace(
    images: Tensor, chosen: Bools, operation: Callable[..., Tensor], *parameters: npt.NDArray[Any]
) -> None:
    """Put what an operation makes of the chosen images in their place.

    The choice is known on the CPU, so a GPU is never waited for.
    """
    rows = np.flatnonzero(chosen)
    if len(rows) == 0:
        return
    index = torch.from_numpy(rows).to(images.device, non_blocking=True)
    values = [
        torch.from_numpy(parameter[rows]).to(images.device, torch.float32, non_blocking=True)
        for parameter in parameters
    ]
    images.index_copy_(0, index, operation(images.index_select(0, index), *values))


def _to_uint8(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def flip(images: Tensor) -> Tensor:
    """Mirror left and right."""
    return images.flip(2)


def rotate(images: Tensor, angle: Tensor) -> Tensor:
    """Rotate counter-clockwise by degrees (N,) about the centre, bilinear, corners black."""
    side = images.shape[1]
    axis = (torch.arange(side, device=images.device) * 2 + 1) / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    turn = torch.deg2rad(angle).view(-1, 1, 1)
    cos, sin = torch.cos(turn), torch.sin(turn)
    sources = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
    planes = images.permute(0, 3, 1, 2).float()
    turned = F.grid_sample(
        planes, sources, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return _to_uint8(turned).permute(0, 2, 3, 1)


def scale_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by factors (N,)."""
    return _to_uint8(images * _per_image(factor))


def scale_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from the image's mean luma by factors (N,)."""
    factor = _per_image(factor)
    # A sum of integers is exact, whatever order a device adds in.
    total = _to_uint8(_luma(images)).sum(dim=(1, 2, 3), dtype=torch.int64)
    mean = _per_image((total.double() / images[0, ..., 0].numel()).float())
    return _to_uint8(images * factor + mean * (1 - factor))


def scale_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from the pixel's luma by factors (N,)."""
    factor = _per_image(factor)
    return _to_uint8(images * factor + _luma(images) * (1 - factor))


def shift_hue(images: Tensor, share: Tensor) -> Tensor:
    """Turn the hue of HSV by shares (N,) of the circle."""
    pixels = images.float()
    red, green, blue = pixels.unbind(-1)
    value = pixels.amax(-1)
    chroma = value - pixels.amin(-1)
    divisor = chroma.clamp(min=1)  # where there is no chroma, the hue does not matter
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue += 6 * share.view(-1, 1, 1)
    distance = (hue[..., None] + torch.tensor([5.0, 3.0, 1.0], device=images.device)) % 6
    lack = torch.minimum(distance, 4 - distance).clamp_(0, 1)
    return _to_uint8(value[..., None] - chroma[..., None] * lack)


def mix_channels(images: Tensor, matrix: Tensor) -> Tensor:
    """Apply matrices (N, 3, 3) to the colours."""
    columns = matrix.transpose(1, 2)[:, None, None]
    red, green, blue = (images[..., c, None] * columns[..., c, :] for c in range(3))
    return _to_uint8(red + green + blue)


def to_grey(images: Tensor) -> Tensor:
    """Luma in all three channels."""
    return _to_uint8(_luma(images)).expand_as(images)


def _luma(images: Tensor) -> Tensor:
    red, green, blue = (float(weight) * images[..., c, None] for c, weight in enumerate(LUMA))
    return red + green + blue


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of deviations (N,) in pixels with `blur_kernel`."""
    batch, side = images.shape[:2]
    kernel = blur_kernel(side)
    reach = kernel // 2
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    weights = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(3, dim=0)
    planes = images.permute(0, 3, 1, 2).reshape(1, batch * 3, side, side).float()
    planes = F.pad(planes, (reach,) * 4, mode="reflect")
    planes = F.conv2d(planes, weights.view(-1, 1, kernel, 1), groups=batch * 3)
    planes = F.conv2d(planes, weights.view(-1, 1, 1, kernel), groups=batch * 3)
    return _to_uint8(planes).view(batch, 3, side, side).permute(0, 2, 3, 1)


def solarize(images: Tensor) -> Tensor:
    """Invert what is at least 128, which is what lies above its own inverse."""
    return torch.minimum(images, 255 - images)
