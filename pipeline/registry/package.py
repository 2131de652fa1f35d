"""The product: an encoder as safetensors + config + model card, loadable with timm alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.data.decode import to_rgb
from pipeline.encoders.autoencoders.autoencoder import Autoencoder, build_autoencoder
from pipeline.encoders.configs.autoencoder import AutoencoderConfig
from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.encoders.embeddings import embedding, embedding_width, problems_of_embedding
from pipeline.errors import Problem, UserError
from pipeline.recipe_errors import explain
from pipeline.views.opencv import render_probe_view

WEIGHTS_FILE = "encoder.safetensors"
AUTOENCODER_FILE = "autoencoder.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"


class Preprocessing(BaseModel):
    """What is done to an image before the encoder: centre square, resize, scale, normalise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class PackageConfig(BaseModel):
    """`config.json`: what `timm.create_model` needs, the preprocessing, and what is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    args: dict[str, Any]
    feature_width: int  # of `features`
    backbone_width: int  # of `pooled` features
    preprocessing: Preprocessing
    features: FeaturesConfig = FeaturesConfig(kind="pooled")
    autoencoder: AutoencoderConfig | None = None  # what stands behind the backbone
    provenance: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_package(cls, value: Any) -> Any:
        """Packages had nothing but the backbone, and one width."""
        if isinstance(value, Mapping) and "feature_width" in value:
            return {"backbone_width": value["feature_width"], **value}
        return value

    def giving(self, features: FeaturesConfig, autoencoder: Autoencoder | None) -> PackageConfig:
        """The same for other features.

        Args:
            features: as `problems_of_embedding` allows them.
            autoencoder: behind the backbone, in eval mode, on the CPU.
        """
        width = embedding_width(
            features,
            autoencoder,
            feature_width=self.backbone_width,
            size=self.preprocessing.size,
        )
        return self.model_copy(update={"features": features, "feature_width": width})

    @property
    def served(self) -> FeaturesConfig:
        """What the model in MLflow gives: it has the backbone and the linear head, no decoder."""
        return self.features.of_kind("pooled" if self.features.kind == "pooled" else "mean")

    @property
    def served_width(self) -> int:
        """Of those features."""
        if self.served.kind == "pooled" or self.autoencoder is None:
            return self.backbone_width
        return self.autoencoder.width


class PackagedEncoder(nn.Module):
    """A packaged encoder in eval mode; its `config` says what it gives."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, config: PackageConfig, backbone: nn.Module, autoencoder: Autoencoder | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.autoencoder = autoencoder
        prep = config.preprocessing
        self.register_buffer("mean", torch.tensor(prep.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(prep.std).view(1, 3, 1, 1), persistent=False)
        self.eval()

    @classmethod
    def load(cls, folder: Path, *, features: FeaturesConfig | None = None) -> PackagedEncoder:
        """Load from a package's folder; the weights must fit exactly.

        Args:
            folder: the package.
            features: what is to be given; None: what `config.json` says.

        Raises:
            UserError: the package cannot give such features, or has lost its autoencoder.
        """
        config = PackageConfig.model_validate_json((folder / CONFIG_FILE).read_text())
        backbone = timm.create_model(config.name, **config.args)
        backbone.load_state_dict(load_file(folder / WEIGHTS_FILE))
        autoencoder = _load_autoencoder(folder, config)
        if features is not None:
            problems = problems_of_embedding(features, autoencoder, setting="features")
            if problems:
                raise UserError(problems)
            config = config.giving(features, autoencoder)
        return cls(config=config, backbone=backbone, autoencoder=autoencoder)

    def forward(self, images: Tensor) -> Tensor:
        """Features of images.

        Args:
            images: (B, 3, H, W) uint8, or float in [0, 1]; resized if H, W differ from the size
                that the encoder was trained with.

        Returns:
            (B, D) float32, D being `config.feature_width`.
        """
        pixels = self._resized(images)
        pooled = self.backbone((pixels - self.mean) / self.std)
        return embedding(pooled, pixels, self.config.features, autoencoder=self.autoencoder)

    def normalise(self, images: Tensor) -> Tensor:
        """The backbone's input, (B, 3, S, S) float, from images as `forward` takes them."""
        return (self._resized(images) - self.mean) / self.std

    def _resized(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) float in [0, 1]."""
        pixels = images.to(self.mean.dtype)
        if images.dtype == torch.uint8:
            pixels = pixels / 255
        size = self.config.preprocessing.size
        if pixels.shape[-2:] != (size, size):
            pixels = F.interpolate(
                pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False
            )
        return pixels

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Pillow images as `forward` takes them: the centre square, resized; (B, 3, S, S) uint8."""
        size = self.config.preprocessing.size
        squares = [render_probe_view(to_rgb(image), size) for image in images]
        return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def features_named(features: str | Mapping[str, Any]) -> FeaturesConfig:
    """What a user asks of a package, in the words of a recipe.

    Raises:
        UserError: there are no such features.
    """
    try:
        return _Asked.model_validate({"features": features}).features
    except ValidationError as error:
        raise UserError(explain(details, _Asked) for details in error.errors()) from error


class _Asked(BaseModel):
    features: FeaturesConfig


def write_package(
    folder: Path,
    *,
    config: PackageConfig,
    weights: Mapping[str, Tensor],
    card: str,
    autoencoder: Mapping[str, Tensor] | None = None,
) -> str:
    """Write a package into an empty or new folder.

    Args:
        folder: to write.
        config: of the package.
        weights: of the backbone.
        card: the model card.
        autoencoder: weights of what `config.autoencoder` is.

    Returns:
        sha256 of `encoder.safetensors`.

    Raises:
        ValueError: weights of an autoencoder without its config, or the other way round.
    """
    if (autoencoder is None) != (config.autoencoder is None):
        raise ValueError("an autoencoder needs both its config and its weights")
    folder.mkdir(parents=True, exist_ok=True)
    _save(weights, folder / WEIGHTS_FILE)
    if autoencoder is not None:
        _save(autoencoder, folder / AUTOENCODER_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
    (folder / CARD_FILE).write_text(card)
    with (folder / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save(weights: Mapping[str, Tensor], path: Path) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(tensors, path, metadata={"format": "pt"})


def _load_autoencoder(folder: Path, config: PackageConfig) -> Autoencoder | None:
    if config.autoencoder is None:
        return None
    path = folder / AUTOENCODER_FILE
    if not path.is_file():
        raise UserError(
            Problem(str(path), f"is missing, but {CONFIG_FILE} names an autoencoder; fetch it anew")
        )
    autoencoder = build_autoencoder(
        config.autoencoder,
        feature_width=config.backbone_width,
        size=config.preprocessing.size,
    )
    autoencoder.load_state_dict(load_file(path))
    return autoencoder.eval()
