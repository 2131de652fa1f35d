"""The recipe's section of an objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from pipeline.encoders.configs.autoencoder import AutoencoderConfig
from pipeline.encoders.configs.ema import EMAConfig
from pipeline.errors import Problem
from pipeline.section import Section

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.base import Objective


class ObjectiveConfig(Section):
    """An objective's section of the recipe; subclasses add `kind` and settings."""

    kind: str

    @field_validator("ema", mode="before", check_fields=False)
    @classmethod
    def _over_the_defaults(cls, value: Any) -> Any:
        """A section that says some of its settings leaves the others at this objective's."""
        default = cls.model_fields["ema"].default
        if isinstance(value, Mapping) and isinstance(default, EMAConfig):
            return {**default.model_dump(), **value}
        return value

    def build(self, encoder: EncoderShape, *, global_batch: int) -> Objective:
        """The objective for such an encoder, and so many samples in a step."""
        raise NotImplementedError

    @property
    def twin(self) -> EMAConfig | None:
        """How the encoder's twin follows, if targets are of one."""
        return getattr(self, "ema", None)

    @property
    def sole_autoencoder(self) -> AutoencoderConfig | None:
        """What stands behind the encoder, if it is exactly one autoencoder."""
        return None

    def problems(self, *, global_batch: int) -> list[Problem]:
        """Settings that do not go with the global batch; places are within this section."""
        return []
