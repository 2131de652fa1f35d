"""The product: an encoder as safetensors + config + model card, loadable with timm alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.data.decode import to_rgb
from pipeline.encoders.autoencoders.autoencoder import Autoencoder, build_autoencoder
from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.encoders.embeddings import embedding, problems_of_embedding
from pipeline.errors import Problem, UserError
from pipeline.recipe_errors import explain
from pipeline.registry.packages.config import CONFIG_FILE, WEIGHTS_FILE, PackageConfig
from pipeline.registry.packages.files import autoencoder_file
from pipeline.views.opencv import render_probe_view
from pipeline.views.parameters import centre_crop

_LOADING = {
    *("pretrained", "checkpoint_path", "cache_dir"),
    *("pretrained_cfg", "pretrained_cfg_overlay"),
}
"""Arguments by which timm would read other weights than the package's."""


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
            UserError: the package cannot give such features, has lost its autoencoder, its
                `config.json` is none of ours, or the weights are damaged or of another model.
        """
        config = read_config(folder)
        backbone = _load_backbone(folder, config)
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
            images: (B, 3, H, W) uint8, or float in [0, 1]; of another size than the encoder was
                trained with, their centre square is resized.

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
        if pixels.shape[-2:] == (size, size):
            return pixels
        top, left, height, width = centre_crop(*pixels.shape[-2:])
        square = pixels[..., top : top + height, left : left + width]
        return F.interpolate(
            square, size=(size, size), mode="bilinear", antialias=True, align_corners=False
        )

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Pillow images as `forward` takes them: the centre square, resized; (B, 3, S, S) uint8."""
        size = self.config.preprocessing.size
        squares = [render_probe_view(to_rgb(image), size) for image in images]
        return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def read_config(folder: Path) -> PackageConfig:
    """The config of a package.

    Raises:
        UserError: it is none of ours.
    """
    path = folder / CONFIG_FILE
    try:
        return PackageConfig.model_validate_json(path.read_text(errors="replace"))
    except OSError as error:
        raise UserError(Problem(str(path), f"cannot be read: {error.strerror}")) from error
    except ValidationError as error:
        raise UserError(
            Problem(f"{path}: {problem.where}", problem.message)
            for problem in (explain(details, PackageConfig) for details in error.errors())
        ) from error


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


def _load_backbone(folder: Path, config: PackageConfig) -> nn.Module:
    where = str(folder / CONFIG_FILE)
    if not timm.is_model(config.architecture):  # nor is it a name that timm would download by
        raise UserError(Problem(where, f"timm knows no architecture {config.architecture!r}"))
    loading = sorted(_LOADING & config.model_args.keys())
    if loading:
        raise UserError(Problem(where, f"model_args may not have {', '.join(loading)}"))
    try:
        backbone: nn.Module = timm.create_model(config.architecture, **config.model_args)
    except Exception as error:  # timm's models raise whatever their constructors meet
        reason = _line(error)
        raise UserError(Problem(where, f"timm cannot build what it describes: {reason}")) from error
    _load_weights(backbone, folder / WEIGHTS_FILE)
    return backbone


def _load_weights(module: nn.Module, path: Path) -> None:
    try:
        module.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        told = f"holds other weights than {CONFIG_FILE} describes, or none: {_line(error)}"
        raise UserError(Problem(str(path), told)) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _load_autoencoder(folder: Path, config: PackageConfig) -> Autoencoder | None:
    if config.autoencoder is None:
        return None
    path = autoencoder_file(folder)
    if not path.is_file():
        raise UserError(
            Problem(str(path), f"is missing, but {CONFIG_FILE} names an autoencoder; fetch it anew")
        )
    autoencoder = build_autoencoder(
        config.autoencoder,
        feature_width=config.num_features,
        size=config.preprocessing.size,
    )
    _load_weights(autoencoder, path)
    return autoencoder.eval()
