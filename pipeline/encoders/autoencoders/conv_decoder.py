"""A convolutional decoder: from a code to an image, by doubling its side again and again."""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.encoders.autoencoders.decoder import Decoded, Decoder
from pipeline.encoders.autoencoders.latent import unrounded
from pipeline.encoders.configs.conv_decoder import GROUPS, ConvDecoderConfig
from pipeline.errors import Problem, UserError


class ConvDecoder(Decoder):
    """Its hidden layers are the maps of each size, places in raster order."""

    def __init__(self, *, config: ConvDecoderConfig, width: int, size: int, channels: int) -> None:
        super().__init__()
        self.layers = len(config.channels)
        halvings = self.layers - 1
        if size % 2**halvings:
            raise UserError(
                Problem(
                    "objective.decoder.channels",
                    f"{list(config.channels)} double a map's side {halvings} times, but views.size "
                    f"{size} is no multiple of {2**halvings}",
                )
            )
        self._side = size // 2**halvings
        first = config.channels[0]
        self.embed = nn.Linear(width, first * self._side**2)
        before = (first, *config.channels[:-1])
        self.stages = nn.ModuleList(
            _stage(inner, outer, doubled=number > 0)
            for number, (inner, outer) in enumerate(zip(before, config.channels, strict=True))
        )
        self.output = nn.Conv2d(config.channels[-1], channels, kernel_size=3, padding=1)

    def forward(self, codes: Tensor, target: Tensor | None = None) -> Decoded:
        """Images (B, C, S, S) of codes (B, D); `target` is not looked at."""
        maps = unrounded(self.embed, codes).unflatten(1, (-1, self._side, self._side))
        hidden = []
        for stage in self.stages:
            maps = stage(maps)
            hidden.append(maps.flatten(2).mT)
        return Decoded(output=unrounded(self.output, maps), hidden=tuple(hidden))


def _stage(inner: int, outer: int, *, doubled: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest") if doubled else nn.Identity(),
        nn.Conv2d(inner, outer, kernel_size=3, padding=1, bias=False),
        nn.GroupNorm(GROUPS, outer),
        nn.GELU(),
    )
