"""Self-supervised pretraining on Ray: shards in, a probed and registered encoder out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pipeline.registry.package import PackagedEncoder

__version__ = "0.1.0"
__all__ = ["load_encoder"]


def load_encoder(
    uri_or_path: str,
    *,
    features: str | Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
) -> PackagedEncoder:
    """Load a registered or local encoder with its preprocessing.

    Args:
        uri_or_path: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a folder that holds
            `encoder.safetensors` and `config.json` (what `python -m jobs fetch` writes, and what a
            finished run has in its folder as `encoder/`).
        features: what it is to give, as a recipe's `encoder.features` says it: `"mean"`, or
            `{"kind": "decoder_hidden", "layer": 0, "pool": "last"}`; None: what the recipe said.
            All but `"pooled"` need an encoder that was trained with a decoder. `"sample"` draws the
            same code for the same image whenever it is asked.
        tracking_uri: the MLflow server; by default `MLFLOW_TRACKING_URI`, else `./runs/mlflow.db`.

    Returns:
        A module in eval mode. Called with images, uint8 or float in [0, 1], (B, 3, H, W), it
        returns features (B, D) float32, of the width in `config.feature_width`.

    Raises:
        UserError: nothing is registered or stored there, or it cannot give such features.
    """
    from pipeline.registry.package import PackagedEncoder, features_named
    from pipeline.registry.resolve import encoder_folder

    wanted = None if features is None else features_named(features)
    with encoder_folder(uri_or_path, tracking_uri=tracking_uri) as folder:
        return PackagedEncoder.load(folder, features=wanted)
