"""The registered model's code: MLflow copies this file beside the weights and runs it there.

It must not import our package, so that `mlflow.pyfunc.load_model("models:/NAME@ALIAS")` works where
only MLflow, torch, timm and safetensors are installed.
"""

import base64
import binascii
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import timm
import torch
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

_TOGETHER = 64
_MOST_PIXELS = 1 << 27
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")


class EncoderModel(PythonModel):
    """Images to features (B, D) float32.

    An image is the bytes of a file, the same in base64, or an array (H, W, 3) uint8. There may be
    one, a list, an array (B, H, W, 3), or a data frame with a column `image` or a single column.

    `features` of the model's config says which are given: `pooled`, the backbone's own, or `mean`,
    the mean of a code, which is a linear function of them. Other kinds need the decoder, and our
    package.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Build the encoder with timm and load its weights."""
        folder = Path(context.artifacts["package"])
        config = json.loads((folder / "config.json").read_text())
        self.preprocessing = config["preprocessing"]
        self.encoder = timm.create_model(config["architecture"], **config["model_args"]).eval()
        self.encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
        if context.model_config["features"] == "mean":
            head = load_file(folder / "autoencoder" / "autoencoder.safetensors")
            # Means come before log-scales.
            weight = head["head.linear.weight"].chunk(2)[0]
            bias = head["head.linear.bias"].chunk(2)[0]
            self.encoder = torch.nn.Sequential(self.encoder, _linear(weight, bias))
        # MLflow makes the signature of `predict`'s hints, and would let in nothing else.
        self.__dict__["predict"] = self.encode

    def predict(
        self,
        context: PythonModelContext,
        model_input: list[bytes],
        params: dict[str, Any] | None = None,
    ) -> list[list[float]]:
        """What a request gets: `{"inputs": ["base64 of an image's file", …]}`, a row for each."""
        return self.encode(context, model_input).tolist()

    def encode(
        self, context: PythonModelContext, model_input: Any, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Encode images of any size."""
        images = _listed(model_input)
        found = [
            self._features(images[start : start + _TOGETHER], start)
            for start in range(0, len(images), _TOGETHER)
        ]
        if not found:
            raise ValueError("there are no images")
        return np.concatenate(found)

    def _features(self, images: Sequence[Any], start: int) -> np.ndarray:
        size = self.preprocessing["size"]
        mean = torch.tensor(self.preprocessing["mean"]).view(1, 3, 1, 1)
        std = torch.tensor(self.preprocessing["std"]).view(1, 3, 1, 1)
        squares = [
            _square(_pixels(image, f"image {start + number}"), size)
            for number, image in enumerate(images)
        ]
        with torch.inference_mode():
            return self.encoder((torch.stack(squares) / 255 - mean) / std).numpy()


def _listed(given: Any) -> Sequence[Any]:
    """Images one by one, whatever they came in."""
    if hasattr(given, "columns"):  # a data frame
        if "image" not in given.columns and len(given.columns) != 1:
            raise ValueError(f"there is no column image among {', '.join(map(str, given.columns))}")
        given = given["image" if "image" in given.columns else given.columns[0]]
    if isinstance(given, bytes | bytearray | str):
        return [given]
    if isinstance(given, np.ndarray) and given.dtype != object:
        if given.ndim not in (3, 4):
            raise ValueError(f"shape {given.shape} is neither (H, W, 3) nor (B, H, W, 3)")
        return list(given[None] if given.ndim == 3 else given)
    if not isinstance(given, Iterable):
        raise ValueError(f"{type(given).__name__} is no image and no list of images")
    return list(given)


def _pixels(image: Any, name: str) -> np.ndarray:
    """(H, W, 3) uint8 of an image, as the encoder's training saw it."""
    if isinstance(image, str):
        try:
            image = base64.b64decode(image)
        except binascii.Error as error:
            raise ValueError(f"{name} is text, but not base64: {error}") from error
    if isinstance(image, bytes | bytearray):
        return _decoded(bytes(image), name)
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}, allowed: (H, W, 3)")
    if array.dtype != np.uint8:
        whole = np.issubdtype(array.dtype, np.integer)
        if not whole or array.min() < 0 or array.max() > 255:
            raise ValueError(f"{name} is {array.dtype}, allowed: whole numbers from 0 to 255")
    return array.astype(np.uint8)


def _decoded(data: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(f"more than {_MOST_PIXELS} pixels")
            return _rgb(image)
    except Exception as error:  # the bytes lie in memory: whatever Pillow meets is their fault
        raise ValueError(f"{name} cannot be decoded: {error}") from error


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        grey = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _square(pixels: np.ndarray, size: int) -> torch.Tensor:
    """(3, S, S) float in 0 … 255: the largest centred square, resized."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side].copy()
    channels = torch.from_numpy(square).permute(2, 0, 1)[None].float()
    if side == size:
        return channels[0]
    resized = F.interpolate(
        channels, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].round()


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> torch.nn.Linear:
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


mlflow.models.set_model(EncoderModel())
