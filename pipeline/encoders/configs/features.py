"""The recipe's `encoder.features`: what an encoder gives to probes and users. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.config import JsonDict

from pipeline.section import Section

_Kind = Literal["pooled", "mean", "sample", "decoder_hidden"]
_OF_HIDDEN = ("layer", "pool")


class Pool(StrEnum):
    """What becomes of a hidden layer's places."""

    mean = "mean"
    last = "last"
    none = "none"


class FeaturesConfig(Section):
    """What an encoder gives. A plain string in the recipe is the kind, with its defaults.

    `pooled` is the encoder's own output, `mean` that of the posterior of codes, `sample` a draw of
    it. `decoder_hidden` is a layer of the decoder for the mean, and the sample itself where the
    decoder is told it: the "informative embeddings" of Livne, cMIM, 2025.
    """

    shorthand: ClassVar[JsonDict] = {"enum": list(get_args(_Kind))}

    kind: Annotated[_Kind, Field(description="which of them")]
    layer: Annotated[
        int, Field(description="of decoder_hidden; counted from 0, or from -1, the last, back")
    ] = -1
    pool: Annotated[Pool, Field(description="of decoder_hidden: over the layer's places")] = (
        Pool.mean
    )

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        if isinstance(value, Mapping | FeaturesConfig):
            return value
        if not isinstance(value, str):
            kinds = ", ".join(get_args(_Kind))
            raise ValueError(f"input should be one of {kinds}, or a section with a kind")
        return {"kind": value}

    @model_validator(mode="after")
    def _settings_of_its_kind(self) -> FeaturesConfig:
        if self.kind != "decoder_hidden":
            for name in _OF_HIDDEN:
                if name in self.model_fields_set:
                    raise ValueError(f"{name} is a setting of kind decoder_hidden, not {self.kind}")
        return self

    def of_kind(self, kind: str) -> FeaturesConfig:
        """These features, if they are of a kind, else those of that kind with its defaults."""
        return self if kind == self.kind else FeaturesConfig.model_validate(kind)

    @model_serializer(mode="wrap")
    def _without_settings_of_others(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        settings: dict[str, Any] = dump(self)
        if self.kind != "decoder_hidden":
            settings = {name: settings[name] for name in settings if name not in _OF_HIDDEN}
        return settings
