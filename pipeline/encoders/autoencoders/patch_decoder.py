"""A decoder like that of masked autoencoders: a narrow transformer over patches of the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.autoencoders.decoder import Decoded, Decoder
from pipeline.encoders.autoencoders.latent import unrounded
from pipeline.encoders.configs.patch_decoder import PatchDecoderConfig
from pipeline.encoders.transformers.positions import sincos_positions
from pipeline.encoders.transformers.transformer import LAYER_NORM, blocks, initialise, mask_token
from pipeline.errors import Problem, UserError


class PatchDecoder(Decoder):
    """One token is the code; of the others, all alike, positions say which patch they become.

    Its hidden layers are the patches' tokens behind each block, the last of them normalised.
    """

    positions: Tensor

    def __init__(self, *, config: PatchDecoderConfig, width: int, size: int, channels: int) -> None:
        super().__init__()
        if size % config.patch:
            raise UserError(
                Problem(
                    "objective.decoder.patch",
                    f"{config.patch}, but views.size {size} is no multiple of it",
                )
            )
        self.layers = config.depth
        self._patch = config.patch
        side = size // config.patch
        self.embed = nn.Linear(width, config.width)
        self.blocks = blocks(config.width, depth=config.depth, heads=config.heads)
        self.norm = LAYER_NORM(config.width)
        self.output = nn.Linear(config.width, channels * config.patch**2)
        initialise(self)
        self.mask_token = mask_token(config.width)
        self.register_buffer(
            "positions", sincos_positions((side, side), config.width), persistent=False
        )

    def forward(self, codes: Tensor, target: Tensor | None = None) -> Decoded:
        """Images (B, C, S, S) of codes (B, D); `target` is not looked at."""
        code = unrounded(self.embed, codes)[:, None]
        patches = (self.mask_token + self.positions).expand(len(codes), -1, -1)
        tokens = torch.cat([code, patches.to(code.dtype)], dim=1)
        hidden = []
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            hidden.append((self.norm(tokens) if number == self.layers else tokens)[:, 1:])
        return Decoded(output=self._image(unrounded(self.output, hidden[-1])), hidden=tuple(hidden))

    def _image(self, patches: Tensor) -> Tensor:
        """(B, C, S, S) of (B, n, C * p * p)."""
        side = int(self.positions.shape[0] ** 0.5) * self._patch
        return F.fold(patches.mT, (side, side), kernel_size=self._patch, stride=self._patch)
