"""Self-supervised pretraining on Ray: shards in, a probed and registered encoder out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.registry.package import PackagedEncoder

__version__ = "0.1.0"
__all__ = ["load_encoder"]


def load_encoder(uri_or_path: str, *, tracking_uri: str | None = None) -> PackagedEncoder:
    """Load a registered or local encoder with its preprocessing.

    Args:
        uri_or_path: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a folder that holds
            `encoder.safetensors` and `config.json` (what `python -m jobs fetch` writes).
        tracking_uri: the MLflow server; by default `MLFLOW_TRACKING_URI`, else `./runs/mlflow.db`.

    Returns:
        A module in eval mode. Called with images, uint8 or float in [0, 1], (B, 3, H, W), it
        returns features (B, D) float32.

    Raises:
        UserError: nothing is registered or stored there.
    """
    from pipeline.registry.package import PackagedEncoder
    from pipeline.registry.resolve import encoder_folder

    with encoder_folder(uri_or_path, tracking_uri=tracking_uri) as folder:
        return PackagedEncoder.load(folder)
