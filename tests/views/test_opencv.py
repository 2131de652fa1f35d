"""Each operation of the CPU executor stays within 2/255 of torchvision's on uint8 images."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from pipeline.views.arrays import Ints
from pipeline.views.opencv import (
    Pixels,
    blur,
    crop_and_resize,
    jitter_colour,
    render_probe_view,
    render_views,
    rotate,
    to_grey,
)
from pipeline.views.parameters import ImageViews, LocalViews, ViewParameters, draw

pytestmark = pytest.mark.fast

TOLERANCE = 2
CLIPART = Path(__file__).parent.parent / "fixtures" / "openclipart_ci_32.npz"
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
SMALL = LocalViews(count=2, size=8)
PLAIN = ImageViews(
    size=16, count=1, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0, jitter=0, grayscale=0
)


@cache
def images() -> dict[str, Pixels]:
    """Noise, smooth ramps, one colour, black and white, and twelve drawings."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:37, 0:53]
    smooth = np.stack([x * 255 / 52, y * 255 / 36, 127 + 120 * np.sin(x / 9 + y / 7)], axis=2)
    drawings = np.load(CLIPART)["x"][::25]
    return {
        "noise": rng.integers(0, 256, (37, 53, 3), dtype=np.uint8),
        "dull noise": rng.integers(100, 140, (37, 53, 3), dtype=np.uint8),
        "smooth": smooth.astype(np.uint8),
        "grey": np.repeat((x * 4).astype(np.uint8)[..., None], 3, axis=2),
        "one colour": np.full((20, 20, 3), (200, 30, 90), dtype=np.uint8),
        "chessboard": np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2),
        **{f"drawing {number}": drawing for number, drawing in enumerate(drawings)},
    }


def rendered(
    pictures: list[Pixels],
    config: ImageViews,
    *,
    seed: int = 0,
    epoch: int = 0,
    sample_ids: Ints,
) -> Pixels:
    rows = np.zeros((len(pictures), config.row_bytes), dtype=np.uint8)
    render_views(
        {row: (picture,) for row, picture in enumerate(pictures)},
        rows,
        config=config,
        seed=seed,
        epoch=epoch,
        sample_ids=sample_ids,
    )
    return rows


def blocks(
    pictures: list[Pixels],
    config: ImageViews,
    *,
    seed: int = 0,
    epoch: int = 0,
    sample_ids: Ints,
) -> tuple[Pixels, ...]:
    rows = rendered(pictures, config, seed=seed, epoch=epoch, sample_ids=sample_ids)
    return config.split(rows)


def by_torchvision(
    operation: Callable[[torch.Tensor], torch.Tensor], image: Pixels
) -> npt.NDArray[np.int64]:
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
    result = operation(tensor)
    assert result.dtype == torch.uint8
    return result.permute(1, 2, 0).numpy().astype(np.int64)


def assert_close(
    found: Pixels, operation: Callable[[torch.Tensor], torch.Tensor], image: Pixels
) -> None:
    assert found.dtype == np.uint8
    wanted = by_torchvision(operation, image)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= TOLERANCE


def one(operation: int, factor: float) -> Callable[[Pixels], Pixels]:
    factors = [1.0, 1.0, 1.0, 0.0]
    factors[operation] = factor
    return lambda image: jitter_colour(image, tuple(factors), np.array([operation]))


def resized(
    image: torch.Tensor, box: tuple[int, int, int, int], size: int, *, antialias: bool = True
) -> torch.Tensor:
    return F.resized_crop(
        image, *box, [size, size], interpolation=InterpolationMode.BILINEAR, antialias=antialias
    )


@pytest.mark.parametrize("size", [4, 16, 32, 96])
@pytest.mark.parametrize("name", images())
def test_crop_and_resize_up_down_and_both(name: str, size: int) -> None:
    image = images()[name]
    height, width = image.shape[:2]
    for box in (
        (0, 0, height, width),
        (3, 2, 11, 9),
        (0, 0, height, 3),
        (height - 2, 1, 2, width - 1),
        (5, 5, 1, 1),
        (2, 3, 16, 16),
        (1, 1, 16, 17),
    ):
        for antialias in (True, False):
            found = crop_and_resize(image, box, size, antialias=antialias)
            wanted = partial(resized, box=box, size=size, antialias=antialias)
            assert_close(found, wanted, image)


@pytest.mark.parametrize("name", images())
def test_brightness_contrast_and_saturation(name: str) -> None:
    image = images()[name]
    for factor in (0.0, 0.2, 0.6, 1.0, 1.3, 1.8):
        for number, reference in (
            (BRIGHTNESS, F.adjust_brightness),
            (CONTRAST, F.adjust_contrast),
            (SATURATION, F.adjust_saturation),
        ):
            found = one(number, factor)(image)
            assert_close(found, lambda tensor, f=factor, adjust=reference: adjust(tensor, f), image)


@pytest.mark.parametrize("name", images())
def test_hue(name: str) -> None:
    image = images()[name]
    for share in (-0.5, -0.2, -0.05, 0.0, 0.1, 0.2, 0.37, 0.5):
        assert_close(one(HUE, share)(image), lambda t, share=share: F.adjust_hue(t, share), image)


@pytest.mark.parametrize("name", images())
def test_rotation(name: str) -> None:
    image = images()[name]
    for angle in (-30.0, -7.5, 0.3, 15.0, 90.0):
        assert_close(
            rotate(image, angle),
            lambda t, angle=angle: F.rotate(t, angle, interpolation=InterpolationMode.BILINEAR),
            image,
        )


@pytest.mark.parametrize("name", images())
def test_grey(name: str) -> None:
    image = images()[name]
    assert_close(to_grey(image), lambda t: F.rgb_to_grayscale(t, num_output_channels=3), image)


@pytest.mark.parametrize(
    ("size", "kernel"), [(8, 3), (32, 3), (37, 3), (50, 5), (96, 9), (224, 23)]
)
def test_blur_with_a_kernel_of_a_tenth_of_the_side(size: int, kernel: int) -> None:
    for image in [*images().values()][:8]:
        view = crop_and_resize(image, (0, 0, *image.shape[:2]), size)
        for sigma in (0.1, 0.5, 1.0, 2.0):
            found = blur(view, sigma)
            assert_close(
                found,
                lambda t, sigma=sigma: F.gaussian_blur(t, [kernel, kernel], [sigma, sigma]),
                view,
            )


@pytest.mark.parametrize("name", images())
def test_flip_and_solarize_are_exact(name: str) -> None:
    image = images()[name]
    box = (0, 0, *image.shape[:2])
    for config, reference in (
        (PLAIN.model_copy(update={"flip": 1.0}), F.horizontal_flip),
        (PLAIN.model_copy(update={"solarize": 1.0}), lambda t: F.solarize(t, 128)),
    ):
        square = image[: min(box[2:]), : min(box[2:])]
        (plain,), (found,) = (
            blocks([square], c, sample_ids=np.array([5]))[0] for c in (PLAIN, config)
        )
        np.testing.assert_array_equal(found[0], by_torchvision(reference, plain[0]))


def with_torchvision(view: torch.Tensor, p: ViewParameters, row: int) -> torch.Tensor:
    if p.flip[row]:
        view = F.horizontal_flip(view)
    if p.jitter[row]:
        adjust = (
            lambda t: F.adjust_brightness(t, p.brightness[row]),
            lambda t: F.adjust_contrast(t, p.contrast[row]),
            lambda t: F.adjust_saturation(t, p.saturation[row]),
            lambda t: F.adjust_hue(t, p.hue[row]),
        )
        for operation in p.colour_order[row]:
            view = adjust[operation](view)
    if p.grayscale[row]:
        view = F.rgb_to_grayscale(view, num_output_channels=3)
    if p.blur_sigma[row]:
        view = F.gaussian_blur(view, [3, 3], [float(p.blur_sigma[row])] * 2)
    return view


def test_whole_views_are_on_average_nearer_to_exact_arithmetic_than_torchvisions() -> None:
    config = ImageViews(size=32, count=1, blur=0.5)
    pictures = list(images().values()) * 4
    ids = np.arange(len(pictures))
    sizes = np.array([picture.shape[:2] for picture in pictures])
    found = blocks(pictures, config, seed=1, epoch=2, sample_ids=ids)[0][:, 0]
    p = draw(config, seed=1, epoch=2, sample_ids=ids, view=0, sizes=sizes)
    ours, theirs = [], []
    for row, picture in enumerate(pictures):
        whole = torch.from_numpy(picture.copy()).permute(2, 0, 1)
        crop = resized(whole, tuple(p.crop[row].tolist()), 32)
        exact = with_torchvision(crop.float() / 255, p, row).permute(1, 2, 0).numpy() * 255
        rounded = with_torchvision(crop, p, row).permute(1, 2, 0).numpy()
        ours.append(np.abs(found[row] - exact))
        theirs.append(np.abs(rounded - exact))
    assert np.max(ours) <= 6
    assert np.mean(ours) < np.mean(theirs)


def test_a_view_is_the_same_alone_and_in_any_batch() -> None:
    config = ImageViews(size=16, count=3, blur=0.5, solarize=0.5, local=SMALL)
    pictures, ids = list(images().values()), np.arange(len(images())) * 7
    whole = rendered(pictures, config, epoch=4, sample_ids=ids)
    assert whole.shape == (len(pictures), 3 * 16 * 16 * 3 + 2 * 8 * 8 * 3)
    assert whole.dtype == np.uint8
    for row in range(len(pictures)):
        alone = rendered([pictures[row]], config, epoch=4, sample_ids=ids[row : row + 1])
        np.testing.assert_array_equal(alone[0], whole[row])
    back = rendered(pictures[::-1], config, epoch=4, sample_ids=ids[::-1])
    np.testing.assert_array_equal(back, whole[::-1])


def test_local_views_are_further_views_of_smaller_crops_and_leave_the_global_ones_alone() -> None:
    pictures, ids = list(images().values()), np.arange(len(images()))
    local = LocalViews(count=3, size=9, crop_scale=(0.1, 0.3))
    config = ImageViews(size=16, count=2, jitter=0, grayscale=0, flip=0)
    (alone,) = blocks(pictures, config, sample_ids=ids)
    both = config.model_copy(update={"local": local})
    with_local, found = blocks(pictures, both, sample_ids=ids)
    np.testing.assert_array_equal(with_local, alone)
    assert found.shape == (len(pictures), 3, 9, 9, 3)
    sizes = np.array([picture.shape[:2] for picture in pictures])
    for number in range(3):
        view = config.count + number
        crops = draw(both, seed=0, epoch=0, sample_ids=ids, view=view, sizes=sizes).crop
        for row, picture in enumerate(pictures):
            wanted = crop_and_resize(picture, tuple(crops[row].tolist()), 9)
            np.testing.assert_array_equal(found[row, number], wanted)


def test_rows_without_an_image_are_left_alone() -> None:
    picture, ids = images()["smooth"], np.arange(3) + 5
    config = ImageViews(size=16, blur=1)
    rows = np.full((3, config.row_bytes), 9, dtype=np.uint8)
    render_views({1: (picture,)}, rows, config=config, seed=0, epoch=0, sample_ids=ids)
    assert (rows[[0, 2]] == 9).all()
    np.testing.assert_array_equal(rows[1:2], rendered([picture], config, sample_ids=ids[1:2]))


def test_no_images_give_no_views() -> None:
    empty = np.empty(0, dtype=np.int64)
    found, local = blocks([], ImageViews(size=8, local=SMALL), sample_ids=empty)
    assert found.shape == (0, 2, 8, 8, 3)
    assert local.shape == (0, 2, 8, 8, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (5, 2), (400, 3)])
def test_images_of_extreme_shapes_give_whole_views(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 77, dtype=np.uint8)
    config = ImageViews(size=16, jitter=0, grayscale=0)
    views = rendered([image] * 20, config, sample_ids=np.arange(20))
    assert (views == 77).all()
    assert (render_probe_view(image, 16) == 77).all()


def test_rendering_leaves_the_image_as_it_was() -> None:
    image = images()["noise"].copy()
    config = ImageViews(size=37, count=4, blur=1, solarize=1)
    rendered([image], config, sample_ids=np.array([1]))
    np.testing.assert_array_equal(image, images()["noise"])


def test_the_probe_view_is_the_centred_square_resized() -> None:
    image = images()["smooth"]
    for size in (8, 32, 64):
        found = render_probe_view(image, size)
        assert_close(found, lambda t, size=size: resized(t, (0, 8, 37, 37), size), image)
