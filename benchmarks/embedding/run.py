"""Embedding a corpus: ours beside Ray Data's own reader and beside a torch DataLoader.

    python -m benchmarks.embedding.run --json

Each measurement is a process of its own, contenders in turn (A B C, A B C), and medians are taken:
trust ratios, and on a machine that others use the CPU time for each image most.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import simplejpeg
import timm
import torch
import typer

from benchmarks.embedding.contenders import CONTENDERS
from benchmarks.shared.places import CLIPART, ROOT
from pipeline.data.decode import encode_png
from pipeline.data.sources.convert import shard
from pipeline.registry.packages.config import PackageConfig, Preprocessing
from pipeline.registry.packages.files import write_package

NARROW = {"channels": [16, 16, 32, 32], "stem_width": 8}


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    quick: Annotated[bool, typer.Option(help="One short repeat: shows that it works.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each contender.")] = 3,
) -> None:
    """Compare images per second and CPU time for each image."""
    share = 8 if quick else 1
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        small, large = folder / "small", folder / "large"
        write_set(small, [encode_png(image) for image in clipart(16384 // share, 32)])
        encoded = [
            simplejpeg.encode_jpeg(image, quality=90, colorspace="RGB")
            for image in clipart(4096 // share, 256)
        ]
        write_set(large, encoded)
        for name, shards, size, model, args in (
            ("png32, resnet18", small, 32, "resnet18", {}),
            ("png32, narrow resnet10t", small, 32, "resnet10t", NARROW),
            ("jpeg256 to 224, narrow resnet10t", large, 224, "resnet10t", NARROW),
        ):
            encoder = write_encoder(folder / f"encoder of {name}", model, args, size)
            results[name] = compared(encoder, shards / "shards", 1 if quick else repeats, share)
            print(f"{name}: {json.dumps(results[name])}", file=sys.stderr, flush=True)
    if json_:
        print(json.dumps(results))


def compared(encoder: Path, shards: Path, repeats: int, share: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(repeats):
        for name, found in runs.items():
            arguments = [name, encoder, shards, 1024 // share]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.embedding.contenders", *map(str, arguments)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
            found.append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        figure: {name: median(found, figure) for name, found in runs.items()}
        for figure in ("images_per_s", "cpu_ms_per_image")
    }
    rate, cpu = medians["images_per_s"], medians["cpu_ms_per_image"]
    others = [name for name in runs if name != "ours"]
    return {
        **medians,
        "ratio": {name: round(rate["ours"] / rate[name], 2) for name in others},
        "cpu_ratio": {name: round(cpu[name] / cpu["ours"], 2) for name in others},
        "images_per_s_of_each": {
            name: [round(run["images_per_s"]) for run in found] for name, found in runs.items()
        },
    }


def median(found: list[dict[str, float]], figure: str) -> float:
    return round(statistics.median(run[figure] for run in found), 3)


def clipart(count: int, side: int) -> list[np.ndarray]:
    images = np.load(CLIPART)["x"]
    distinct = [cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC) for image in images]
    return [distinct[number % len(distinct)] for number in range(count)]


def write_set(folder: Path, encoded: list[bytes]) -> None:
    files = folder / "files"
    files.mkdir(parents=True)
    suffix = "jpg" if encoded[0].startswith(b"\xff\xd8") else "png"
    for number, data in enumerate(encoded):
        (files / f"{number:06d}.{suffix}").write_bytes(data)
    shard(
        files,
        folder / "shards",
        labels="none",
        images=None,
        kind="tar",
        samples_per_shard=1024,
        test_fraction=0.0,
        seed=0,
    )


def write_encoder(folder: Path, model: str, args: dict[str, Any], size: int) -> Path:
    backbone = timm.create_model(model, num_classes=0, **args)
    torch.manual_seed(0)
    config = PackageConfig.of(
        model,
        {"num_classes": 0, **args},
        width=backbone.num_features,
        preprocessing=Preprocessing(size=size, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    )
    write_package(folder, config=config, weights=backbone.state_dict(), card="")
    return folder


if __name__ == "__main__":
    typer.run(main)
