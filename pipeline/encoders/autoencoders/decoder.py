"""The contract of decoders: from a code to what is likely, by way of hidden layers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What a decoder makes of B codes."""

    output: Tensor  # (B, ...), what the likelihood is a function of
    hidden: tuple[Tensor, ...]  # (B, T, H) of each layer before the output's, the last one last


class Decoder(nn.Module):
    """From codes (B, D) to a likelihood's parameters.

    An autoregressive one is told the sample that is to be likely, and gives for each of its places
    what follows from the places before it (teacher forcing). Others take no notice of it.
    """

    layers: int
    """How many hidden layers `Decoded.hidden` has."""

    def forward(self, codes: Tensor, target: Tensor | None = None) -> Decoded:
        """Decode.

        Args:
            codes: (B, D).
            target: (B, ...) the samples themselves, for an autoregressive decoder; None: it samples
                as it goes.
        """
        raise NotImplementedError
