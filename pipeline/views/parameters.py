"""The parameters of a sample's augmented views: a pure function of (seed, epoch, sample id, view).

Drawing is apart from executing, so that every executor (OpenCV in a read task, torch on a device)
and every test apply the very same crops and colours, wherever a sample is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from pipeline.randomness import uniform
from pipeline.section import Section
from pipeline.views.arrays import Bools, Floats, Ints, Pixels
from pipeline.views.masks import MultiBlockConfig

HueShift = Literal["hsv", "yiq"]
Probability = Annotated[float, Field(ge=0, le=1)]
Block = tuple[int, int, int, int]  # views, height, width, channels

_CROP_ATTEMPTS = 10
_COLOUR_ORDERS = np.array(list(permutations(range(4))), dtype=np.int64)


def _share_of_area(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] <= value[1] <= 1:
        raise ValueError("must be 0 < low <= high <= 1")
    return value


CropScale = Annotated[
    tuple[float, float],
    AfterValidator(_share_of_area),
    Field(description="least and largest share of the area"),
]


class LocalViews(Section):
    """Further, small views of small crops (SwAV, DINO); the defaults are DINO's for 224 pixels."""

    count: Annotated[int, Field(ge=1, le=16, description="local views of each sample")] = 6
    size: Annotated[
        int, Field(ge=4, description="side of a local view in pixels, at most views.size")
    ] = 96
    crop_scale: CropScale = (0.05, 0.4)


class ImageViews(Section):
    """Augmentations of an image; the defaults are SimCLR's for small images (no blur)."""

    kind: Literal["image"] = "image"
    size: Annotated[int, Field(ge=4, description="side of a view in pixels")] = 32
    count: Annotated[int, Field(ge=1, le=16, description="views of each sample")] = 2
    parts: Annotated[
        tuple[str, ...] | None,
        Field(
            alias="from",
            min_length=1,
            description="names of a sample's images that its views are drawn from in turn, where "
            "it has several; null: it is one image",
        ),
    ] = None
    local: Annotated[
        LocalViews | None,
        Field(description="small views besides, alike but for these settings; null: none"),
    ] = None
    masks: Annotated[
        MultiBlockConfig | None,
        Field(
            description="which patches are seen and which predicted, for objectives that mask; "
            "null: none"
        ),
    ] = None
    crop_scale: CropScale = (0.2, 1.0)
    crop_ratio: Annotated[
        tuple[float, float], Field(description="least and largest width / height")
    ] = (0.75, 1.3333333333333333)
    flip: Annotated[Probability, Field(description="chance of a horizontal flip")] = 0.5
    rotate: Annotated[
        float, Field(ge=0, le=180, description="largest rotation in degrees; corners turn black")
    ] = 0.0
    jitter: Annotated[
        float, Field(ge=0, le=1, description="strength s: 0.8 s for light, contrast, saturation")
    ] = 0.5
    jitter_probability: Annotated[Probability, Field(description="chance of the jitter")] = 0.8
    grayscale: Annotated[Probability, Field(description="chance of grey")] = 0.2
    blur: Annotated[Probability, Field(description="chance of a Gaussian blur")] = 0.0
    blur_sigma: Annotated[
        tuple[float, float], Field(description="least and largest blur, in pixels")
    ] = (0.1, 2.0)
    solarize: Annotated[Probability, Field(description="chance of solarisation at 128")] = 0.0
    antialias: Annotated[
        bool,
        Field(
            description="filter before a reduction, as torchvision does by default; false: plain "
            "bilinear, nearly twice as many photographs a second"
        ),
    ] = True
    hue: Annotated[
        HueShift,
        Field(
            description="how the hue is shifted: hsv, as torchvision does; yiq: faster, by a "
            "rotation of the colours at constant luma, which gives other colours"
        ),
    ] = "hsv"
    executor: Annotated[
        Literal["cpu", "device"],
        Field(
            description="what flips, rotates, recolours and blurs: cpu, the read tasks; device: "
            "the training device, in batches, where CPUs are too few to feed it. Read tasks crop "
            "and resize in any case; views differ in roundings"
        ),
    ] = "cpu"
    mean: Annotated[tuple[float, float, float], Field(description="RGB mean, in [0, 1]")] = (
        0.485,
        0.456,
        0.406,
    )
    std: Annotated[tuple[float, float, float], Field(description="RGB deviation")] = (
        0.229,
        0.224,
        0.225,
    )

    @model_validator(mode="after")
    def _ranges_make_sense(self) -> ImageViews:
        wrong = []
        if self.local and self.local.size > self.size:
            wrong.append(f"local.size must be at most size, {self.size}, got {self.local.size}")
        if self.parts and self.count % len(self.parts):
            names = f"the {len(self.parts)} names in from, [{', '.join(self.parts)}]"
            wrong.append(f"count must be a multiple of {names}, got {self.count}")
        for name in ("crop_ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                wrong.append(f"{name} must be 0 < low <= high, got {[low, high]}")
        if min(self.std) <= 0:
            wrong.append(f"std must be above 0, got {list(self.std)}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the images that views are drawn from, each once; () where a sample is one."""
        return tuple(dict.fromkeys(self.parts or ()))

    def image_of(self, view: int) -> int:
        """Place among `images` of the one that a view is drawn from; local views begin anew."""
        if self.parts is None:
            return 0
        turn = view if view < self.count else view - self.count
        return self.images.index(self.parts[turn % len(self.parts)])

    @property
    def shapes(self) -> tuple[Block, ...]:
        """Shapes of a row's blocks of pixels: (V, S, S, 3) and, with local views, (L, s, s, 3)."""
        blocks = [(self.count, self.size)]
        if self.local:
            blocks.append((self.local.count, self.local.size))
        return tuple((count, size, size, 3) for count, size in blocks)

    @property
    def row_bytes(self) -> int:
        """Bytes of the pixels of one sample's views."""
        return sum(math.prod(shape) for shape in self.shapes)

    def split(self, rows: Pixels) -> tuple[Pixels, ...]:
        """Rows of flat pixels as their blocks, without a copy.

        Args:
            rows: (n, row_bytes) uint8; a row holds its blocks one after the other.

        Returns:
            (n, V, S, S, 3) and, with local views, (n, L, s, s, 3) uint8.
        """
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        blocks = np.split(rows, ends[:-1], axis=1)
        return tuple(
            block.reshape(len(rows), *shape)
            for block, shape in zip(blocks, self.shapes, strict=True)
        )

    def crop_scale_of(self, view: int) -> tuple[float, float]:
        """Least and largest share of the area; local views are numbered after the global ones."""
        return self.local.crop_scale if self.local and view >= self.count else self.crop_scale


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """What is done to B views after the crop; every field has the views along its first axis."""

    flip: Bools  # (B,)
    angle: Floats  # (B,) degrees, counter-clockwise
    jitter: Bools  # (B,) whether the four colour factors apply
    brightness: Floats  # (B,) factor
    contrast: Floats  # (B,) factor
    saturation: Floats  # (B,) factor
    hue: Floats  # (B,) share of the colour circle, in [-0.5, 0.5]
    colour_order: Ints  # (B, 4) order of the four: 0 brightness, 1 contrast, 2 saturation, 3 hue
    grayscale: Bools  # (B,)
    blur_sigma: Floats  # (B,) in pixels of the view; 0 where there is no blur
    solarize: Bools  # (B,)


@dataclass(frozen=True, kw_only=True)
class ViewParameters(Appearance):
    """All parameters of one view of B samples."""

    crop: Ints  # (B, 4): top, left, height, width in pixels of the source image


def draw(
    config: ImageViews, *, seed: int, epoch: int, sample_ids: Ints, view: int, sizes: Ints
) -> ViewParameters:
    """Draw the parameters of one view of B samples.

    Args:
        config: the augmentations.
        seed: the run's seed.
        epoch: counted from 0.
        sample_ids: (B,) int64.
        view: index of the view, the global ones first.
        sizes: (B, 2) height and width of the source images in pixels.

    Returns:
        Parameters that depend on nothing but the arguments' values, row by row.
    """
    appearance = draw_appearance(config, seed=seed, epoch=epoch, sample_ids=sample_ids, view=view)
    crop = draw_crops(config, seed=seed, epoch=epoch, sample_ids=sample_ids, view=view, sizes=sizes)
    return ViewParameters(crop=crop, **vars(appearance))


def draw_appearance(
    config: ImageViews, *, seed: int, epoch: int, sample_ids: Ints, view: int | Ints
) -> Appearance:
    """The part of `draw` that needs no source image: everything but the crops.

    Args:
        config: the augmentations.
        seed: the run's seed.
        epoch: counted from 0.
        sample_ids: (B,) int64.
        view: index of the view, one for all or (B,) int64.
    """

    def chance(name: str) -> Floats:
        return uniform("view", seed, epoch, sample_ids, view, name)

    def between(name: str, low: float, high: float) -> Floats:
        return low + (high - low) * chance(name)

    light = 0.8 * config.jitter
    order = (chance("colour order") * len(_COLOUR_ORDERS)).astype(np.int64)
    return Appearance(
        flip=chance("flip") < config.flip,
        angle=between("angle", -config.rotate, config.rotate),
        jitter=chance("jitter") < (config.jitter_probability if config.jitter else 0.0),
        brightness=between("brightness", max(0.0, 1 - light), 1 + light),
        contrast=between("contrast", max(0.0, 1 - light), 1 + light),
        saturation=between("saturation", max(0.0, 1 - light), 1 + light),
        hue=between("hue", -0.2 * config.jitter, 0.2 * config.jitter),
        colour_order=_COLOUR_ORDERS[order],
        grayscale=chance("grayscale") < config.grayscale,
        blur_sigma=np.where(
            chance("blur") < config.blur, between("blur sigma", *config.blur_sigma), 0.0
        ),
        solarize=chance("solarize") < config.solarize,
    )


def draw_crops(
    config: ImageViews, *, seed: int, epoch: int, sample_ids: Ints, view: int, sizes: Ints
) -> Ints:
    """Random resized crops (B, 4): the first of ten tries that fits, else the largest centred one.

    The part of `draw` that depends on the source images, with the same arguments. The algorithm is
    that of Inception's crops (Szegedy et al., 2015) as torchvision's RandomResizedCrop states it;
    the tries are drawn at once so that the number of draws never depends on the image.
    """
    tries = np.arange(_CROP_ATTEMPTS)
    ids = sample_ids[:, None]
    height, width = sizes[:, :1], sizes[:, 1:]
    low, high = config.crop_scale_of(view)
    area = (
        height * width * (low + (high - low) * uniform("crop", seed, epoch, ids, view, "a", tries))
    )
    log_low, log_high = np.log(config.crop_ratio)
    ratio = np.exp(
        log_low + (log_high - log_low) * uniform("crop", seed, epoch, ids, view, "r", tries)
    )
    tried_w = np.rint(np.sqrt(area * ratio)).astype(np.int64)
    tried_h = np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (tried_w > 0) & (tried_w <= width) & (tried_h > 0) & (tried_h <= height)
    first = fits.argmax(axis=1)
    rows = np.arange(len(sample_ids))
    crop_h, crop_w = tried_h[rows, first], tried_w[rows, first]

    source_h, source_w = sizes[:, 0], sizes[:, 1]
    too_wide = source_w / source_h > config.crop_ratio[1]
    too_tall = source_w / source_h < config.crop_ratio[0]
    widest = np.maximum(1, np.rint(source_h * config.crop_ratio[1])).astype(np.int64)
    tallest = np.maximum(1, np.rint(source_w / config.crop_ratio[0])).astype(np.int64)
    found = fits.any(axis=1)
    crop_h = np.where(found, crop_h, np.where(too_tall, tallest, source_h))
    crop_w = np.where(found, crop_w, np.where(too_wide, widest, source_w))

    u_top = uniform("crop", seed, epoch, sample_ids, view, "top")
    u_left = uniform("crop", seed, epoch, sample_ids, view, "left")
    room_h, room_w = source_h - crop_h, source_w - crop_w
    top = np.where(found, (u_top * (room_h + 1)).astype(np.int64), room_h // 2)
    left = np.where(found, (u_left * (room_w + 1)).astype(np.int64), room_w // 2)
    return np.stack([top, left, crop_h, crop_w], axis=1)


def centre_crop(height: int, width: int) -> tuple[int, int, int, int]:
    """The largest centred square, as (top, left, height, width): the view that probes look at."""
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side
