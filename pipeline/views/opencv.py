"""Executes view parameters on the CPU, uint8 in and out; it runs in read tasks, so without torch.

Each operation stays within 2/255 of torchvision's functional one on uint8 images.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from pipeline.views.arrays import Ints, Pixels
from pipeline.views.kernels import LUMA, blur_kernel, yiq_rotation
from pipeline.views.parameters import (
    Appearance,
    HueShift,
    ImageViews,
    centre_crop,
    draw_appearance,
    draw_crops,
)
from pipeline.views.reduction import resize_antialiased

_STRIP_PIXELS = 4096


def render_views(
    images: dict[int, tuple[Pixels, ...]],
    out: Pixels,
    *,
    config: ImageViews,
    seed: int,
    epoch: int,
    sample_ids: Ints,
) -> None:
    """Draw and execute every view of decoded images.

    Under `executor: device` only the crops are executed, and the device finishes the views.

    Args:
        images: of each sample, under its row of `out`, those that `config.images` names, or the
            only one: arrays (H, W, 3) uint8 RGB, whose sizes may differ.
        out: (n, row_bytes) uint8 to write to, which `config.split` takes apart.
        config: the augmentations.
        seed: the run's seed.
        epoch: counted from 0.
        sample_ids: (n,) int64, of the rows of `out`.
    """
    rows = list(images)
    ids = sample_ids[rows]
    parts = range(len(config.images) or 1)
    sizes = [_sizes([images[row][part] for row in rows]) for part in parts]
    places = [block[:, number] for block in config.split(out) for number in range(block.shape[1])]
    for view, place in enumerate(places):
        part = config.image_of(view)
        crops = draw_crops(
            config, seed=seed, epoch=epoch, sample_ids=ids, view=view, sizes=sizes[part]
        )
        for row, crop in zip(rows, crops.tolist(), strict=True):
            place[row] = crop_and_resize(
                images[row][part], tuple(crop), place.shape[1], antialias=config.antialias
            )
        if config.executor == "cpu":
            appearance = draw_appearance(config, seed=seed, epoch=epoch, sample_ids=ids, view=view)
            for number, row in enumerate(rows):
                place[row] = _change(place[row], appearance, number, config.hue)


def _sizes(images: list[Pixels]) -> Ints:
    """Heights and widths (n, 2)."""
    return np.array([image.shape[:2] for image in images], dtype=np.int64).reshape(-1, 2)


def render_probe_view(image: Pixels, size: int) -> Pixels:
    """The unaugmented view, (S, S, 3) uint8: the largest centred square, resized."""
    return crop_and_resize(image, centre_crop(*image.shape[:2]), size)


def _change(pixels: Pixels, p: Appearance, row: int, hue: HueShift) -> Pixels:
    if p.flip[row]:
        pixels = cv2.flip(pixels, 1)
    if p.angle[row]:
        pixels = rotate(pixels, float(p.angle[row]))
    if p.jitter[row]:
        factors = (p.brightness[row], p.contrast[row], p.saturation[row], p.hue[row])
        pixels = jitter_colour(pixels, factors, p.colour_order[row], hue=hue)
    if p.grayscale[row]:
        pixels = to_grey(pixels)
    if p.blur_sigma[row] > 0:
        pixels = blur(pixels, float(p.blur_sigma[row]))
    if p.solarize[row]:
        pixels = solarize(pixels)
    return pixels


def crop_and_resize(
    image: Pixels, box: tuple[int, int, int, int], size: int, *, antialias: bool = True
) -> Pixels:
    """Crop (top, left, height, width) and resize to (size, size), bilinear.

    OpenCV's bilinear resize does not antialias, so it serves enlargements, where antialiasing
    changes nothing.
    """
    top, left, height, width = box
    crop = image[top : top + height, left : left + width]
    if not antialias or (height <= size and width <= size):
        return cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)
    return resize_antialiased(crop, size)


def rotate(image: Pixels, angle: float) -> Pixels:
    """Rotate counter-clockwise by degrees about the centre, bilinear, corners black."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return cv2.warpAffine(
        image,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        hint=cv2.ALGO_HINT_ACCURATE,
    )


def jitter_colour(
    image: Pixels,
    factors: tuple[float, float, float, float],
    order: Ints,
    *,
    hue: HueShift = "hsv",
) -> Pixels:
    """Brightness, contrast, saturation (factors) and hue (share of the circle), in `order`."""
    pixels = image
    for operation in order:
        factor = float(factors[operation])
        if operation == 0:
            pixels = cv2.addWeighted(pixels, factor, pixels, 0.0, 0.0)
        elif operation == 1:
            mean = cv2.mean(_luma(pixels))[0]
            pixels = cv2.addWeighted(pixels, factor, pixels, 0.0, mean * (1 - factor))
        elif operation == 2:
            pixels = cv2.transform(pixels, factor * np.eye(3) + (1 - factor) * LUMA)
        elif hue == "hsv":
            pixels = _shift_hue(pixels, factor)
        else:
            pixels = cv2.transform(pixels, yiq_rotation(np.array([factor]))[0])
    return pixels


def _shift_hue(pixels: Pixels, share: float) -> Pixels:
    # In float32, because OpenCV's 8 bits for hue are too few to come within 2/255. In strips,
    # because most of the time went into page faults of fresh arrays that hold a whole view.
    height, width = pixels.shape[:2]
    rows = max(1, _STRIP_PIXELS // width)
    turned = np.empty_like(pixels)
    first, second = np.empty((2, rows, width, 3), dtype=np.float32)
    for top in range(0, height, rows):
        strip = pixels[top : top + rows]
        rgb, hsv = first[: len(strip)], second[: len(strip)]
        np.copyto(rgb, strip)
        cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV, dst=hsv)
        cv2.add(hsv, (360 * (share % 1), 0, 0, 0), dst=hsv)
        cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=rgb)
        cv2.convertScaleAbs(rgb, dst=turned[top : top + rows])
    return turned


def to_grey(image: Pixels) -> Pixels:
    """Luma in all three channels."""
    return cv2.cvtColor(_luma(image), cv2.COLOR_GRAY2RGB)


def _luma(image: Pixels) -> Pixels:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def blur(image: Pixels, sigma: float) -> Pixels:
    """Gaussian blur with `blur_kernel`."""
    # Beyond 3.5 deviations lie a two-thousandth of the weight and most of a wide kernel's work.
    reach = min(blur_kernel(image.shape[0]) // 2, math.ceil(3.5 * sigma))
    weights = cv2.getGaussianKernel(2 * reach + 1, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(image, -1, weights, weights, borderType=cv2.BORDER_REFLECT_101)


def solarize(image: Pixels) -> Pixels:
    """Invert what is at least 128, which is what lies above its own inverse."""
    return cv2.min(image, cv2.bitwise_not(image))
