"""Executes view parameters on the CPU, uint8 in and out; it runs in read tasks, so without torch.

Each operation stays within 2/255 of torchvision's functional one on uint8 images.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.views.parameters import ImageViews, Ints, ViewParameters, centre_crop, draw

Pixels = npt.NDArray[np.uint8]
Float32s = npt.NDArray[np.float32]

_GREY = np.array([0.2989, 0.587, 0.114], dtype=np.float32)  # torchvision's rgb_to_grayscale


def render_views(
    images: list[Pixels], *, config: ImageViews, seed: int, epoch: int, sample_ids: Ints
) -> Pixels:
    """Draw and execute every view of a list of decoded images.

    Args:
        images: B arrays (H, W, 3) uint8 RGB, sizes may differ.
        config: the augmentations.
        seed: the run's seed.
        epoch: counted from 0.
        sample_ids: (B,) int64.

    Returns:
        (B, V, S, S, 3) uint8.
    """
    out = np.empty((len(images), config.count, config.size, config.size, 3), dtype=np.uint8)
    sizes = np.array([image.shape[:2] for image in images], dtype=np.int64).reshape(-1, 2)
    for view in range(config.count):
        parameters = draw(
            config, seed=seed, epoch=epoch, sample_ids=sample_ids, view=view, sizes=sizes
        )
        for row, image in enumerate(images):
            out[row, view] = _render(image, parameters, row, config.size)
    return out


def render_probe_view(image: Pixels, size: int) -> Pixels:
    """The unaugmented view, (S, S, 3) uint8: the largest centred square, resized."""
    return crop_and_resize(image, centre_crop(*image.shape[:2]), size)


def _render(image: Pixels, p: ViewParameters, row: int, size: int) -> Pixels:
    top, left, height, width = (int(v) for v in p.crop[row])
    pixels = crop_and_resize(image, (top, left, height, width), size)
    if p.flip[row]:
        pixels = pixels[:, ::-1]
    if p.angle[row]:
        pixels = rotate(pixels, float(p.angle[row]))
    if p.jitter[row]:
        factors = (p.brightness[row], p.contrast[row], p.saturation[row], p.hue[row])
        pixels = jitter_colour(pixels, factors, p.colour_order[row])
    if p.grayscale[row]:
        pixels = to_grey(pixels)
    if p.blur_sigma[row] > 0:
        pixels = blur(pixels, float(p.blur_sigma[row]))
    if p.solarize[row]:
        pixels = np.where(pixels >= 128, 255 - pixels, pixels)
    return pixels


def crop_and_resize(image: Pixels, box: tuple[int, int, int, int], size: int) -> Pixels:
    """Crop (top, left, height, width) and resize to (size, size), bilinear with antialiasing.

    OpenCV's bilinear resize does not antialias, so it serves enlargements, where antialiasing
    changes nothing; reductions go to Pillow, whose filter is torchvision's.
    """
    top, left, height, width = box
    crop = image[top : top + height, left : left + width]
    if height <= size and width <= size:
        return cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)
    resized = Image.fromarray(np.ascontiguousarray(crop)).resize(
        (size, size), Image.Resampling.BILINEAR
    )
    return np.asarray(resized)


def rotate(image: Pixels, angle: float) -> Pixels:
    """Rotate counter-clockwise by degrees about the centre, bilinear, corners black.

    By Pillow: OpenCV's warp rounds coordinates to 1/32 pixel, which shows in sharp images.
    """
    turned = Image.fromarray(np.ascontiguousarray(image)).rotate(
        angle, resample=Image.Resampling.BILINEAR
    )
    return np.asarray(turned)


def jitter_colour(image: Pixels, factors: tuple[float, float, float, float], order: Ints) -> Pixels:
    """Brightness, contrast, saturation (factors) and hue (share of the circle), in `order`."""
    pixels = image.astype(np.float32)
    for operation in order:
        factor = np.float32(factors[operation])
        if operation == 0:
            pixels = pixels * factor
        elif operation == 1:
            mean = np.floor(pixels @ _GREY).mean(dtype=np.float64)
            pixels = pixels * factor + np.float32(mean) * (1 - factor)
        elif operation == 2:
            pixels = pixels * factor + (pixels @ _GREY)[..., None] * (1 - factor)
        else:
            pixels = _shift_hue(pixels, float(factor))
        np.clip(pixels, 0, 255, out=pixels)
    return np.rint(pixels).astype(np.uint8)


def _shift_hue(pixels: Float32s, share: float) -> Float32s:
    hsv = cv2.cvtColor(np.ascontiguousarray(pixels) * np.float32(1 / 255), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + np.float32(360 * share)) % 360
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * np.float32(255)


def to_grey(image: Pixels) -> Pixels:
    """Luma in all three channels."""
    grey = (image.astype(np.float32) @ _GREY).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def blur(image: Pixels, sigma: float) -> Pixels:
    """Gaussian blur with a kernel of a tenth of the side (odd, at least 3), as in SimCLR."""
    kernel = max(3, image.shape[0] // 10 // 2 * 2 + 1)
    return cv2.GaussianBlur(
        np.ascontiguousarray(image),
        (kernel, kernel),
        sigmaX=sigma,
        borderType=cv2.BORDER_REFLECT_101,
    )
