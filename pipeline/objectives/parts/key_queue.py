"""The queue of past keys that serve as negatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import collectives


class KeyQueue(nn.Module):
    """The last K keys of each view, the same on all ranks.

    Keys of a step are added once it is done, so that what its backward pass needs stays as it was.
    """

    keys: Tensor
    position: Tensor

    def __init__(self, *, views: int, size: int, width: int, heads: int = 1) -> None:
        """A queue of random directions.

        Args:
            views: that keys are kept of.
            size: K, a multiple of the global batch.
            width: of a key, all heads together.
            heads: parts of a key that are unit vectors each.
        """
        super().__init__()
        noise = torch.randn(views, size, heads, width // heads)
        self.register_buffer("keys", F.normalize(noise, dim=-1).flatten(2))  # (V, K, D)
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))
        self._waiting: Tensor | None = None

    def offer(self, keys_VBD: Tensor) -> None:
        """Have this rank's keys added after the step. Every rank calls this."""
        self._waiting = torch.stack([collectives.gather(k_BD) for k_BD in keys_VBD.detach()])

    @torch.no_grad()
    def advance(self) -> None:
        """Add what was offered, in place of the oldest keys."""
        if self._waiting is None:
            return
        added, size = self._waiting.shape[1], self.keys.shape[1]
        places = (self.position + torch.arange(added, device=self.keys.device)) % size
        self.keys[:, places] = self._waiting.to(self.keys.dtype)
        self.position.copy_((self.position + added) % size)
        self._waiting = None
