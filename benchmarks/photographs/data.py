"""Photographs for the measurements, cut from a folder of large ones.

Those of the page are 37 of four Debian packages (lomiri-wallpapers-16.04, lomiri-wallpapers-20.04,
mate-backgrounds, plasma-workspace-wallpapers), of which `sources` takes 30.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import pipeline
from pipeline.data.decode import image_size

WIDTH, HEIGHT = 4000, 3000  # of a camera's 12 megapixels
_ENLARGED = 1.25  # at most, where a photograph has fewer
_QUALITY = 92
_LEAST_PIXELS = 4_000_000
_TRAINED_SHARE = 0.6  # of the longer side
_WINDOWS = (640, 1000)  # pixels of the longer side


def sources(folder: Path) -> list[Path]:
    """JPEGs below a folder that have at least four megapixels, by name."""
    found = sorted(path for path in folder.rglob("*.jpg") if path.is_file())
    return [path for path in found if np.prod(image_size(path.read_bytes())) >= _LEAST_PIXELS]


def of_a_camera(folder: Path) -> Iterator[bytes]:
    """Windows of 12 megapixels, centred, of the photographs that nearly have so many."""
    for path in sources(folder):
        image = _landscape(path)
        scale = max(WIDTH / image.width, HEIGHT / image.height)
        if scale > _ENLARGED:
            continue
        if scale > 1:
            size = (round(image.width * scale), round(image.height * scale))
            image = image.resize(size, Image.Resampling.LANCZOS)
        left, top = (image.width - WIDTH) // 2, (image.height - HEIGHT) // 2
        yield _jpeg(image.crop((left, top, left + WIDTH, top + HEIGHT)))


def windows(folder: Path, *, count: int, test: bool) -> Iterator[tuple[int, bytes]]:
    """Windows of each photograph in its own pixels, with its number; those of a test from apart.

    Trained on is the left part, tested is the right one: no pixel is in both.
    """
    for number, path in enumerate(sources(folder)):
        image = _landscape(path)
        cut = round(image.width * _TRAINED_SHARE)
        first, stop = (cut, image.width) if test else (0, cut)
        rng = np.random.default_rng([number, test])
        for _ in range(count):
            width = int(rng.integers(*_WINDOWS))
            height = width * 3 // 4
            left = int(rng.integers(first, stop - width + 1))
            top = int(rng.integers(0, image.height - height + 1))
            yield number, _jpeg(image.crop((left, top, left + width, top + height)))


def write_set(images: Iterator[tuple[int, bytes]], folder: Path, *, per_shard: int = 500) -> Path:
    """Write labelled images as files and as shards; the shards' folder."""
    for number, (label, data) in enumerate(images):
        path = folder / "files" / f"{label:02d}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    pipeline.shard(folder / "files", folder / "shards", samples_per_shard=per_shard)
    return folder / "shards"


def _landscape(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGB")
    return image if image.width >= image.height else image.rotate(90, expand=True)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, subsampling="4:2:0")
    return buffer.getvalue()
