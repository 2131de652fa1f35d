"""Encoding a batch in parts, so that memory holds the activations of one part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def encode_in_parts(
    encode: Callable[..., Tensor],
    *inputs: Tensor,
    at_once: int | None,
    encoder: nn.Module,
    dim: int,
) -> Tensor:
    """What `encode` makes of a batch, a few samples at once.

    Gradient caching (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited
    Setup, 2021): only the outputs of a part are kept, and it is encoded again when the gradient at
    them is known. This second pass is a part of the backward pass, so DDP sums each parameter's
    gradient once, as it does without parts.

    Args:
        encode: from some samples' inputs to their outputs.
        inputs: (B, ...) each.
        at_once: samples in a part; None: all.
        encoder: whose running statistics the second pass must not move.
        dim: of the outputs that has the samples.
    """
    if at_once is None or len(inputs[0]) <= at_once:
        return encode(*inputs)
    parts = [
        checkpoint(
            encode,
            *part,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), statistics_kept(encoder)),
        )
        for part in zip(*(value.split(at_once) for value in inputs), strict=True)
    ]
    return torch.cat(parts, dim=dim)


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Within it batch normalisations take their batch's statistics, and their running ones stay.

    Not by putting these back afterwards: a backward pass may not find them overwritten.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked = norm.num_batches_tracked.clone()
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = tracked
