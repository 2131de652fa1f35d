"""Contenders that read with torch: DataLoader with torchvision or lightly, and webdataset.

Workers start from a fork server that has the libraries loaded: forking a process in which Ray runs
is not safe, and spawning would spend seconds on imports in every repeat.
"""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import torch
import webdataset as wds
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from benchmarks.ingest.data import Workload

_ENDLESS = 10**8  # samples; nobody draws as many
_CROP_SCALE = (0.2, 1.0)


def fork_server() -> BaseContext:
    """The context in which workers start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torchvision.transforms.v2", "webdataset", "lightly"])
    return context


def augmentation(workload: Workload, *, antialias: bool = True) -> v2.Transform:
    """SimCLR by torchvision, on a PIL image or a uint8 tensor."""
    steps: list[Any] = [
        v2.RandomResizedCrop(workload.size, scale=_CROP_SCALE, antialias=antialias),
        v2.RandomHorizontalFlip(),
    ]
    if workload.full:
        light = 0.8 * workload.jitter
        jitter = v2.ColorJitter(light, light, light, 0.2 * workload.jitter)
        steps += [
            v2.RandomApply([jitter], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(workload.blur_kernel, (0.1, 2.0))], p=0.5),
        ]
    return v2.Compose([*steps, v2.ToImage()])


class TwoViewsFromPil:
    """Decode by Pillow and transform; bytes in, (V, 3, S, S) uint8 out."""

    def __init__(self, workload: Workload) -> None:
        self._augment = augmentation(workload)

    def __call__(self, data: bytes) -> torch.Tensor:
        """The views of one image."""
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return torch.stack([self._augment(image), self._augment(image)])


class TwoViewsFromTensor:
    """Decode by torchvision and transform tensors; bytes in, (V, 3, S, S) uint8 out."""

    def __init__(self, workload: Workload, *, antialias: bool = True) -> None:
        self._augment = augmentation(workload, antialias=antialias)

    def __call__(self, data: bytes) -> torch.Tensor:
        """The views of one image."""
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        image = decode_image(encoded, ImageReadMode.RGB)
        return torch.stack([self._augment(image), self._augment(image)])


def fastest_views(workload: Workload) -> TwoViewsFromPil | TwoViewsFromTensor:
    """The faster way with torchvision: tensors for crops alone, Pillow with colour and blur."""
    return TwoViewsFromPil(workload) if workload.full else TwoViewsFromTensor(workload)


class LightlyViews:
    """lightly's SimCLR transform; bytes in, (V, 3, S, S) normalised float32 out."""

    def __init__(self, workload: Workload) -> None:
        self._augment = SimCLRTransform(
            input_size=workload.size,
            cj_prob=0.8 if workload.full else 0.0,
            cj_strength=workload.jitter,
            min_scale=_CROP_SCALE[0],
            random_gray_scale=0.2 if workload.full else 0.0,
            gaussian_blur=0.5 if workload.full else 0.0,
        )

    def __call__(self, data: bytes) -> torch.Tensor:
        """The views of one image."""
        return torch.stack(self._augment(Image.open(io.BytesIO(data)).convert("RGB")))


class _Files(Dataset[torch.Tensor]):
    def __init__(self, paths: tuple[Path, ...], transform: Any) -> None:
        self._paths = paths
        self._transform = transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self._transform(self._paths[number].read_bytes())


def data_loader(workload: Workload, cpus: int, *, transform: Any) -> Iterator[int]:
    """Sizes of batches of a DataLoader over image files."""
    files = _Files(workload.images.files, transform(workload))
    loader = DataLoader(
        files,
        batch_size=workload.batch,
        sampler=RandomSampler(files, replacement=True, num_samples=_ENDLESS),
        num_workers=cpus,
        multiprocessing_context=fork_server(),
    )
    yield from map(len, loader)


def web_loader(workload: Workload, cpus: int) -> Iterator[int]:
    """Sizes of batches of webdataset's loader over the shards."""
    transform = partial(_transform_tuple, fastest_views(workload))
    dataset = (
        wds.WebDataset(workload.images.tars, shardshuffle=len(workload.images.tars), seed=0)
        .repeat()
        .shuffle(512)
        .to_tuple("jpg;png")
        .map(transform)
        .batched(workload.batch)
    )
    loader = wds.WebLoader(
        dataset, batch_size=None, num_workers=cpus, multiprocessing_context=fork_server()
    )
    with closing(iter(loader)) as batches:
        for (views,) in batches:
            yield len(views)


def _transform_tuple(
    transform: Callable[[bytes], torch.Tensor], sample: tuple[bytes]
) -> tuple[torch.Tensor]:
    return (transform(sample[0]),)
