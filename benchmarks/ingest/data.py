"""The data sets that ingest is measured on, the same for every contender, and the workloads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from benchmarks.shared.places import CLIPART
from pipeline.data.decode import encode_png
from pipeline.data.sources.convert import shard

Pixels = npt.NDArray[np.uint8]

_CANVAS = 1600  # pixels; photographs are windows of a few canvases, which is quick to make
_OCTAVES = ((6, 55.0), (24, 32.0), (96, 18.0), (320, 9.0))  # (cells a side, amplitude)
_SENSOR_NOISE = 3.5


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Encoded images as files and as tar shards of the same bytes."""

    files: tuple[Path, ...]
    shards: Path  # the manifest's folder; its tars are WebDataset's

    @cached_property
    def tars(self) -> list[str]:
        """Paths of the shards."""
        return sorted(str(path) for path in self.shards.glob("*.tar"))

    @property
    def mean_bytes(self) -> float:
        """Mean size of an encoded image."""
        return sum(path.stat().st_size for path in self.files) / len(self.files)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What every contender makes of each image: two views."""

    name: str
    images: ImageSet
    size: int  # side of a view in pixels
    batch: int
    full: bool  # colour jitter, grey and blur; else only crop and flip

    @property
    def jitter(self) -> float:
        """SimCLR's strength of the colour jitter: 1 on photographs, 0.5 on small images."""
        return 1.0 if self.size > 64 else 0.5

    @property
    def blur_kernel(self) -> int:
        """A tenth of the side, odd."""
        return max(3, self.size // 10 // 2 * 2 + 1)


def build_workloads(
    folder: Path, *, photographs: int, cliparts: int, photographs_per_shard: int = 64
) -> list[Workload]:
    """Write both data sets below the folder."""
    large = _write_set(
        folder / "photographs", _photographs(photographs), per_shard=photographs_per_shard
    )
    small = _write_set(folder / "cliparts", _cliparts(cliparts), per_shard=400)
    return [
        Workload(name=f"{name}/{kind}", images=images, size=size, batch=batch, full=kind == "full")
        for name, images, size, batch in (
            ("jpeg500x375-2x224", large, 224, 64),
            ("png32-2x32", small, 32, 256),
        )
        for kind in ("crops", "full")
    ]


def _write_set(folder: Path, encoded: list[bytes], *, per_shard: int) -> ImageSet:
    files = folder / "files"
    files.mkdir(parents=True)
    suffix = ".jpg" if encoded[0].startswith(b"\xff\xd8") else ".png"
    paths = tuple(files / f"{number:06d}{suffix}" for number in range(len(encoded)))
    for path, data in zip(paths, encoded, strict=True):
        path.write_bytes(data)
    shard(
        files,
        folder / "shards",
        labels="none",
        images=None,
        kind="tar",
        samples_per_shard=per_shard,
        test_fraction=0.0,
        seed=0,
    )
    return ImageSet(files=paths, shards=folder / "shards")


def _photographs(count: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    canvases = [_canvas(rng) for _ in range(3)]
    return [_photograph(canvases[number % 3], rng) for number in range(count)]


def _canvas(rng: np.random.Generator) -> Pixels:
    """Noise of several scales, smoothly enlarged: about the spectrum of a photograph."""
    total = np.full((_CANVAS, _CANVAS, 3), 128, dtype=np.float32)
    for cells, amplitude in _OCTAVES:
        light = rng.standard_normal((cells, cells, 1), dtype=np.float32)
        colour = rng.standard_normal((cells, cells, 3), dtype=np.float32)
        enlarged = cv2.resize(
            light + 0.5 * colour, (_CANVAS, _CANVAS), interpolation=cv2.INTER_CUBIC
        )
        total += amplitude * enlarged
    total += _SENSOR_NOISE * rng.standard_normal((_CANVAS, _CANVAS, 1), dtype=np.float32)
    return np.clip(total, 0, 255).astype(np.uint8)


def _photograph(canvas: Pixels, rng: np.random.Generator) -> bytes:
    top, left = rng.integers(0, [_CANVAS - 375, _CANVAS - 500])
    window = np.ascontiguousarray(canvas[top : top + 375, left : left + 500])
    return simplejpeg.encode_jpeg(window, quality=90, colorspace="RGB", colorsubsampling="420")


def _cliparts(count: int) -> list[bytes]:
    images = np.load(CLIPART)["x"]
    distinct = [encode_png(image) for image in images]
    return [distinct[number % len(distinct)] for number in range(count)]
