"""What reading costs with and without `--max-side`, and what the reduction costs once.

    python -m benchmarks.photographs.speed PHOTOGRAPHS --json

Read tasks run in this thread, one after the other, and the CPU time of the process is taken, which
waiting for a core does not touch. Two views of each image; *full* adds colour jitter and grey.
"""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from PIL import Image

from benchmarks.photographs.data import of_a_camera, write_set
from benchmarks.shared.places import CLIPART
from pipeline.data.decode import decode_image, encode_png
from pipeline.data.order.slices import Slice
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.shrinking import QUALITY, shrunk
from pipeline.views.parameters import ImageViews

SIDES = (1024, 640, 512, 256)
_COPIES = 64  # images of a set; a photograph is in it several times
_SLICE = 32  # samples of a read task


def main(
    photographs: Annotated[Path, typer.Argument(help="Folder of large JPEGs.")],
    seconds: Annotated[float, typer.Option(help="Length of each measurement.")] = 10.0,
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
) -> None:
    """Print the tables as Markdown."""
    cv2.setNumThreads(1)
    camera = list(of_a_camera(photographs))
    sets = {"12 megapixels": camera}
    sets |= {f"at most {s} px": [shrunk(data, max_side=s) for data in camera] for s in SIDES}
    sets["32 px PNG"] = [encode_png(image) for image in np.load(CLIPART)["x"]]
    found: dict[str, Any] = {}
    for name, images in sets.items():
        size = 32 if "PNG" in name else 224
        found[name] = {"kilobytes": np.mean([len(data) for data in images]) / 1e3}
        found[name] |= _reading(images, size=size, seconds=seconds)
        print(_row(name, found[name]), flush=True)
    shrinking = _shrinking(camera, max_side=512)
    print(shrinking)
    if json_:
        print(json.dumps({"reading": found, "shrinking": shrinking}))


def _row(name: str, found: dict[str, float]) -> str:
    rates = (
        f"{1e3 / found[kind]:,.0f} | {found['kilobytes'] / found[kind]:,.1f}"
        for kind in ("crops", "full")
    )
    return f"| {name} | {found['kilobytes']:,.1f} | {' | '.join(rates)} |"


def _reading(images: list[bytes], *, size: int, seconds: float) -> dict[str, float]:
    """CPU milliseconds of an image, by what is done to it."""
    many = list(itertools.islice(itertools.cycle(enumerate(images)), max(_COPIES, len(images))))
    with TemporaryDirectory() as folder:
        shards = str(write_set(iter(many), Path(folder)))
        return {
            kind: _read(shards, len(many), _views(size, full=kind == "full"), seconds)
            for kind in ("crops", "full")
        }


def _views(size: int, *, full: bool) -> ImageViews:
    jitter = (1.0 if size > 64 else 0.5) if full else 0.0
    return ImageViews(size=size, jitter=jitter, grayscale=0.2 if full else 0.0)


def _read(shards: str, samples: int, views: ImageViews, seconds: float) -> float:
    plan = StreamPlan(
        seed=0, samples=samples, streams=1, global_batch=_SLICE, shuffle_window=samples
    )
    reader = SliceReader(manifests=(shards,), plan=plan, views=views)
    read = images = 0
    used, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end or not images:
        epoch, start = divmod(read * _SLICE, samples // _SLICE * _SLICE)
        began = time.process_time()
        reader.read(Slice(epoch=epoch, ranges=((0, start, start + _SLICE),)))
        if read:  # the first one opens files and fills caches
            used += time.process_time() - began
            images += _SLICE
        read += 1
    return used / images * 1e3


def _shrinking(camera: list[bytes], *, max_side: int) -> dict[str, float]:
    """CPU milliseconds of a photograph, with its coefficients' help and without."""

    def after_all(data: bytes) -> bytes:
        whole = Image.fromarray(decode_image(data))
        size = (max_side, round(max_side * whole.height / whole.width))
        buffer = io.BytesIO()
        reduced = whole.resize(size, Image.Resampling.BICUBIC)
        reduced.save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
        return buffer.getvalue()

    ways: dict[str, Callable[[bytes], object]] = {
        "shrunk": lambda data: shrunk(data, max_side=max_side),
        "full decode, the same filter": after_all,
        "full decode alone": decode_image,
    }
    found = {}
    for name, way in ways.items():
        began = time.process_time()
        for data in camera * 3:
            way(data)
        found[name] = (time.process_time() - began) / len(camera) / 3 * 1e3
    return found


if __name__ == "__main__":
    typer.run(main)
