"""A packaged encoder as ONNX, for runtimes without torch."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import Problem, UserError
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.registry.packages.parity import TOLERANCE, relative_difference

ONNX_FILE = "encoder.onnx"

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_EXPORTED = ("pooled", "mean")
_OPSET = 20
_BATCHES = (1, 3, 8)


class OnnxExport(NamedTuple):
    """An encoder as ONNX, and how far it is from the one that it was made of."""

    path: Path
    difference: float
    """The largest difference of a feature, as a part of the largest one, over several batches."""


def export_onnx(folder: Path, path: Path) -> OnnxExport:
    """Write a packaged encoder as ONNX, and hold it against the package in onnxruntime.

    The model takes `images` (B, 3, S, S) float32 in [0, 1], B being any, which it normalises
    itself, and gives `features` (B, D) float32.

    Args:
        folder: the package.
        path: of the file, in a folder that does not outlive an error; weights of more than 2 GB
            get a file of their own beside it.

    Returns:
        Where it is, and the difference.

    Raises:
        UserError: packages for it are not installed, the encoder gives features that need random
            draws or a decoder, torch cannot express it, or the two do not agree.
    """
    absent = [name for name in _NEEDED if find_spec(name) is None]
    if absent:
        raise UserError(
            Problem("--onnx", f"needs {', '.join(absent)}: pip install 'ssl-on-ray[onnx]'")
        )
    encoder = PackagedEncoder.load(folder)
    kind = encoder.config.features.kind
    if kind not in _EXPORTED:
        raise UserError(
            Problem("--onnx", f"the encoder gives {kind}; exported: {', '.join(_EXPORTED)}")
        )
    size = encoder.config.preprocessing.size
    _export(encoder, size, path)
    difference = _difference(encoder, path, size)
    if not difference <= TOLERANCE:
        raise UserError(
            Problem(
                "--onnx",
                f"features differ by {difference:.2g} of the largest one, allowed: {TOLERANCE:g}",
            )
        )
    return OnnxExport(path, difference)


class _Normalised(nn.Module):
    """Without what exporters cannot follow: choices by type and size of the input."""

    def __init__(self, encoder: PackagedEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(images)


def _export(encoder: PackagedEncoder, size: int, path: Path) -> None:
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                _Normalised(encoder).eval(),
                (torch.rand(2, 3, size, size),),
                input_names=["images"],
                output_names=["features"],
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            )
        except Exception as error:  # whatever an exporter meets in a model of timm's
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                Problem("--onnx", f"torch cannot export {encoder.config.architecture}: {reason}")
            ) from error
    assert program is not None
    program.save(path)


def _difference(encoder: PackagedEncoder, path: Path, size: int) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    found = []
    for batch in _BATCHES:
        images = torch.rand(batch, 3, size, size, generator=generator)
        (features,) = session.run(["features"], {"images": images.numpy()})
        with torch.inference_mode():
            found.append(relative_difference(features, encoder(images).numpy()))
    return float(np.max(found))
