"""The recipe's `encoder` section."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.encoders.configs.features import FeaturesConfig
from pipeline.section import Section


class EncoderConfig(Section):
    """Which timm model is trained."""

    name: Annotated[str, Field(description="a timm model, e.g. resnet18, vit_small_patch16_224")]
    args: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="further arguments of timm.create_model"),
    ]
    positions: Annotated[
        Literal["timm", "sincos"],
        Field(
            description="of a vision transformer's patches: as timm makes them, which is learnt; "
            "sincos: fixed sines and cosines, as masked methods have them"
        ),
    ] = "timm"
    init: Annotated[
        str | None, Field(description="encoder to start from: a models:/ URI or a folder")
    ] = None
    features: Annotated[
        FeaturesConfig | None,
        Field(
            description="what it gives to probes and to users of its package; null: the mean of "
            "codes where the objective has codes, else pooled"
        ),
    ] = None

    def create_model_args(self) -> dict[str, Any]:
        """Arguments of `timm.create_model` beside the name; the classifier is left off."""
        return {"num_classes": 0, **self.args}
