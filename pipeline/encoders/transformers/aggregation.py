"""DMT-JEPA's aggregation head: one query gathers what tokens have in common."""

from __future__ import annotations

import torch
from timm.layers import Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.transformers.patches import take_tokens
from pipeline.encoders.transformers.transformer import LAYER_NORM, initialise


class AggregationHead(nn.Module):
    """Two blocks of attention with one query, and a norm (DMT-JEPA's local aggregation head).

    The same weights serve in two ways, `around` patches and among the `visible` ones.
    """

    def __init__(self, *, width: int, heads: int) -> None:
        """Build it.

        Args:
            width: D of the tokens.
            heads: of the attention; they divide D.
        """
        super().__init__()
        self.first = _Block(width, heads)
        self.second = _Block(width, heads)
        self.norm = LAYER_NORM(width)
        initialise(self)

    def around(self, tokens: Tensor, near: Tensor, exists: Tensor) -> Tensor:
        """What the patches near each patch have in common; the query is the image's mean token.

        Args:
            tokens: (B, n, D) of all patches.
            near: (B, n, k) int64, patches that count for each patch.
            exists: (B, n, k) bool, whether they do.

        Returns:
            (B, n, D).
        """
        query = tokens.mean(dim=1, keepdim=True).expand_as(tokens)
        for block in (self.first, self.second):
            query = block.update_queries(query, tokens, near, exists)
        gathered: Tensor = self.norm(query)
        return gathered

    def visible(self, tokens: Tensor) -> Tensor:
        """Visible tokens with what they have in common added, (B, K, D) to (B, K, D)."""
        for block in (self.first, self.second):
            tokens = block.update_tokens(tokens)
        gathered: Tensor = self.norm(tokens)
        return gathered


class _Block(nn.Module):
    """Class attention (Touvron et al., Going Deeper with Image Transformers, 2021) and an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = LAYER_NORM(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.norm2 = LAYER_NORM(width)
        self.mlp = Mlp(width, 4 * width)

    def update_queries(self, query: Tensor, tokens: Tensor, near: Tensor, exists: Tensor) -> Tensor:
        """Queries (B, n, D) that look at themselves and at k tokens each."""
        normal = self.norm1(query)
        # Keys and values of a token are the same for all patches that it is near to.
        around = take_tokens(self.key_value(self.norm1(tokens)), near)
        seen = torch.cat([self.key_value(normal)[:, :, None], around], dim=2)
        with_own = F.pad(exists, (1, 0), value=True)
        query = query + self._attend(normal, seen, with_own)
        updated: Tensor = query + self.mlp(self.norm2(query))
        return updated

    def update_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens (B, K, D), each of which gets what their mean sees in itself and in them."""
        query = tokens.mean(dim=1, keepdim=True)
        normal = self.norm1(torch.cat([query, tokens], dim=1))
        seen = self.key_value(normal)[:, None]
        tokens = tokens + self._attend(normal[:, :1], seen, None)
        updated: Tensor = tokens + self.mlp(self.norm2(tokens))
        return updated

    def _attend(self, queries: Tensor, seen: Tensor, exists: Tensor | None) -> Tensor:
        """(B, n, D) of queries (B, n, D) that look at m keys and values (B, n, m, 2 D) each."""
        batch, count, width = queries.shape
        query = self.query(queries).view(batch * count, 1, self.heads, -1).transpose(1, 2)
        key, value = (
            part.reshape(batch * count, -1, self.heads, width // self.heads).transpose(1, 2)
            for part in seen.chunk(2, dim=-1)
        )
        mask = None if exists is None else exists.flatten(0, 1)[:, None, None]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended: Tensor = self.output(found.transpose(1, 2).reshape(batch, count, width))
        return attended
