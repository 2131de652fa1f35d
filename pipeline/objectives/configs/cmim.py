"""The recipe's settings of cMIM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.objectives.configs.latent import LatentObjectiveConfig
from pipeline.objectives.configs.temperature import TemperatureConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.cmim import CMIM


class CMIMConfig(LatentObjectiveConfig):
    """cMIM (Livne, cMIM: A Contrastive Mutual Information Machine, 2025)."""

    kind: Literal["cmim"]
    contrast: Annotated[float, Field(ge=0, description="weight of the contrastive term")] = 1.0
    temperature: Annotated[TemperatureConfig, Field(description="tau of similarities")] = (
        TemperatureConfig(start=0.1)
    )

    def build(self, encoder: EncoderShape, *, global_batch: int) -> CMIM:
        """The objective for an encoder of this feature width and image size.

        Raises:
            UserError: the decoder cannot make images of this size.
        """
        from pipeline.objectives.cmim import CMIM

        autoencoder = self.autoencoder(encoder)
        return CMIM(config=self, autoencoder=autoencoder, feature_width=encoder.width)
