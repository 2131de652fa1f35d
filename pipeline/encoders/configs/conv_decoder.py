"""The recipe's settings of a convolutional decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.section import Section

if TYPE_CHECKING:
    from pipeline.encoders.autoencoders.conv_decoder import ConvDecoder


GROUPS = 8


class ConvDecoderConfig(Section):
    """Nearest-neighbour doublings, and a convolution after each (Odena et al., 2016).

    Group normalisation, so that an image's reconstruction does not depend on its batch.
    """

    kind: Literal["conv"] = "conv"
    channels: Annotated[
        tuple[Annotated[int, Field(ge=GROUPS, multiple_of=GROUPS)], ...],
        Field(min_length=1, description="of each size, the smallest first; each next is doubled"),
    ] = (128, 64, 32)

    def build(self, *, width: int, size: int, channels: int) -> ConvDecoder:
        """The decoder for codes of a width, and images of a side in pixels and some channels.

        Raises:
            UserError: the side cannot be halved often enough.
        """
        from pipeline.encoders.autoencoders.conv_decoder import ConvDecoder

        return ConvDecoder(config=self, width=width, size=size, channels=channels)
