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
    """Images (B, S, S, 3) uint8 to features (B, D) float32."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the encoder with timm and load its weights."""
        folder = Path(context.artifacts["package"])
        config = json.loads((folder / "config.json").read_text())
        self.preprocessing = config["preprocessing"]
        self.encoder = timm.create_model(config["name"], **config["args"]).eval()
        self.encoder.load_state_dict(load_file(folder / "encoder.safetensors"))

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


mlflow.models.set_model(EncoderModel())
