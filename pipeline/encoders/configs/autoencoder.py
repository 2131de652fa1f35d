"""The recipe's settings of an autoencoder: code, decoder, likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.encoders.autoencoders.likelihood import Bernoulli, Gaussian, ImageLikelihood
from pipeline.encoders.configs.conv_decoder import ConvDecoderConfig
from pipeline.encoders.configs.patch_decoder import PatchDecoderConfig
from pipeline.section import Section, kind_alone, or_short

DecoderConfig = Annotated[ConvDecoderConfig | PatchDecoderConfig, Field(discriminator="kind")]


class AutoencoderConfig(Section):
    """Of everything behind the encoder."""

    width: Annotated[int, Field(ge=1, description="D, dimensions of a code")] = 64
    log_scale_least: Annotated[
        float,
        Field(
            ge=-10,
            le=0,
            description="floor of the log of a code's deviation; below -10 a draw is rounded by "
            "more than it deviates",
        ),
    ] = -6.0
    decoder: Annotated[
        DecoderConfig,
        Field(
            description="what makes images of codes; without a kind: conv",
            json_schema_extra=or_short(kind_alone(ConvDecoderConfig, PatchDecoderConfig)),
        ),
    ] = ConvDecoderConfig()
    likelihood: Annotated[
        ImageLikelihood,
        Field(
            description="of an image, given what is decoded; without a kind: bernoulli",
            json_schema_extra=or_short(kind_alone(Bernoulli, Gaussian)),
        ),
    ] = Bernoulli()
    channels: Annotated[
        Literal[1, 3], Field(description="of what is decoded: 3 for RGB, 1 for its grey value")
    ] = 3

    @field_validator("decoder", "likelihood", mode="before")
    @classmethod
    def _kind_alone_or_understood(cls, value: Any, field: ValidationInfo) -> Any:
        if isinstance(value, Mapping) and "kind" not in value:
            return {"kind": cls.model_fields[str(field.field_name)].default.kind, **value}
        return {"kind": value} if isinstance(value, str) else value
