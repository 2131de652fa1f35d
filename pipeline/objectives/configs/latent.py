"""Settings that MIM, A-MIM and cMIM share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from pipeline.encoders.configs.autoencoder import AutoencoderConfig
from pipeline.objectives.configs.base import ObjectiveConfig

if TYPE_CHECKING:
    from pipeline.encoders.autoencoders.autoencoder import Autoencoder
    from pipeline.encoders.shape import EncoderShape


class LatentObjectiveConfig(AutoencoderConfig, ObjectiveConfig):
    """The parts behind the encoder, and weights of terms; a weight of 1 is the method's."""

    reconstruction: Annotated[float, Field(ge=0, description="weight of -log p(x | z)")] = 1.0
    latent: Annotated[float, Field(ge=0, description="weight of the log-densities of codes")] = 1.0
    warm_up: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="share of the run in which beta, of the encoder's half, goes from 0 to 1",
        ),
    ] = 0.0

    @model_validator(mode="after")
    def _some_weight(self) -> LatentObjectiveConfig:
        if self.reconstruction == self.latent == 0:
            raise ValueError("reconstruction and latent are both 0; give one of them a weight")
        return self

    def autoencoder(self, encoder: EncoderShape) -> Autoencoder:
        """The parts behind an encoder.

        Raises:
            UserError: the decoder cannot make images of its size.
        """
        from pipeline.encoders.autoencoders.autoencoder import build_autoencoder

        return build_autoencoder(
            self.sole_autoencoder, feature_width=encoder.width, size=encoder.size
        )

    @property
    def sole_autoencoder(self) -> AutoencoderConfig:
        """The settings that are the autoencoder's."""
        own = {name: getattr(self, name) for name in AutoencoderConfig.model_fields}
        return AutoencoderConfig(**own)

    def beta(self, progress: float) -> float:
        """The warm-up's coefficient at a share of the run."""
        return min(1.0, progress / self.warm_up) if self.warm_up else 1.0
