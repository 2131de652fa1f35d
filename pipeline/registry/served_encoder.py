"""The registered model's code: MLflow copies this file beside the weights and runs it there.

It must not import our package, so that `mlflow.pyfunc.load_model("models:/NAME@ALIAS")` works where
only MLflow, torch, timm and safetensors are installed.
"""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import timm
import torch
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from safetensors.torch import load_file


class EncoderModel(PythonModel):
    """Images (B, S, S, 3) uint8 to features (B, D) float32.

    `features` of the model's config says which: `pooled`, the backbone's own, or `mean`, the mean
    of a code, which is a linear function of them. Other kinds need the decoder, and our package.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Build the encoder with timm and load its weights."""
        folder = Path(context.artifacts["package"])
        config = json.loads((folder / "config.json").read_text())
        self.preprocessing = config["preprocessing"]
        self.encoder = timm.create_model(config["name"], **config["args"]).eval()
        self.encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
        if context.model_config["features"] == "mean":
            head = load_file(folder / "autoencoder.safetensors")
            # Means come before log-scales.
            weight = head["head.linear.weight"].chunk(2)[0]
            bias = head["head.linear.bias"].chunk(2)[0]
            self.encoder = torch.nn.Sequential(self.encoder, _linear(weight, bias))

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # MLflow warns of any other hint
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Encode images of the size in `config.json`."""
        mean = torch.tensor(self.preprocessing["mean"]).view(1, 3, 1, 1)
        std = torch.tensor(self.preprocessing["std"]).view(1, 3, 1, 1)
        pixels = torch.from_numpy(np.ascontiguousarray(model_input)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            features = self.encoder((pixels.float() / 255 - mean) / std)
        return features.numpy()


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> torch.nn.Linear:
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


mlflow.models.set_model(EncoderModel())
