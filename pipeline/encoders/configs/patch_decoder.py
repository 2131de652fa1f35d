"""The recipe's settings of a decoder of patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pipeline.section import Section

if TYPE_CHECKING:
    from pipeline.encoders.autoencoders.patch_decoder import PatchDecoder


class PatchDecoderConfig(Section):
    """Narrow and shallow, as for masked autoencoders (He et al., 2022, section 3)."""

    kind: Literal["patches"]
    patch: Annotated[int, Field(ge=1, description="side of a patch in pixels")] = 4
    width: Annotated[int, Field(ge=4, multiple_of=4, description="of its tokens")] = 128
    depth: Annotated[int, Field(ge=1, description="blocks")] = 2
    heads: Annotated[int, Field(ge=1, description="of its attention")] = 4

    @model_validator(mode="after")
    def _heads_fit(self) -> PatchDecoderConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of its {self.heads} heads")
        return self

    def build(self, *, width: int, size: int, channels: int) -> PatchDecoder:
        """The decoder for codes of a width, and images of a side in pixels and some channels.

        Raises:
            UserError: the side is no multiple of the patch's.
        """
        from pipeline.encoders.autoencoders.patch_decoder import PatchDecoder

        return PatchDecoder(config=self, width=width, size=size, channels=channels)
