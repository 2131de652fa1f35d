"""The product: an encoder as safetensors + config + model card, loadable with timm alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.data.decode import to_rgb
from pipeline.views.opencv import render_probe_view

WEIGHTS_FILE = "encoder.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"


class Preprocessing(BaseModel):
    """What is done to an image before the encoder: centre square, resize, scale, normalise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class PackageConfig(BaseModel):
    """`config.json`: what `timm.create_model` needs, and the preprocessing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    args: dict[str, Any]
    feature_width: int
    preprocessing: Preprocessing
    provenance: dict[str, Any] = {}


class PackagedEncoder(nn.Module):
    """A packaged encoder in eval mode."""

    mean: Tensor
    std: Tensor

    def __init__(self, *, config: PackageConfig, backbone: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        prep = config.preprocessing
        self.register_buffer("mean", torch.tensor(prep.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(prep.std).view(1, 3, 1, 1), persistent=False)
        self.eval()

    @classmethod
    def load(cls, folder: Path) -> PackagedEncoder:
        """Load from a package's folder; the weights must fit exactly."""
        config = PackageConfig.model_validate_json((folder / CONFIG_FILE).read_text())
        backbone = timm.create_model(config.name, **config.args)
        backbone.load_state_dict(load_file(folder / WEIGHTS_FILE))
        return cls(config=config, backbone=backbone)

    def forward(self, images: Tensor) -> Tensor:
        """Features of images.

        Args:
            images: (B, 3, H, W) uint8, or float in [0, 1]; resized if H, W differ from the size
                that the encoder was trained with.

        Returns:
            (B, D) float32.
        """
        features: Tensor = self.backbone(self.normalise(images))
        return features

    def normalise(self, images: Tensor) -> Tensor:
        """The backbone's input, (B, 3, S, S) float, from images as `forward` takes them."""
        pixels = images.to(self.mean.dtype)
        if images.dtype == torch.uint8:
            pixels = pixels / 255
        size = self.config.preprocessing.size
        if pixels.shape[-2:] != (size, size):
            pixels = F.interpolate(
                pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False
            )
        return (pixels - self.mean) / self.std

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Pillow images as `forward` takes them: the centre square, resized; (B, 3, S, S) uint8."""
        size = self.config.preprocessing.size
        squares = [render_probe_view(to_rgb(image), size) for image in images]
        return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def write_package(
    folder: Path, *, config: PackageConfig, weights: dict[str, Tensor], card: str
) -> str:
    """Write a package into an empty or new folder.

    Returns:
        sha256 of `encoder.safetensors`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / CONFIG_FILE).write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
    (folder / CARD_FILE).write_text(card)
    with (folder / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
