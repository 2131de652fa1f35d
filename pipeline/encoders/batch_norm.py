"""Batch normalisation with the statistics of the global batch, on any backend.

torch's SyncBatchNorm refuses CPU ranks; this one runs on our collectives, so a run on two CPU
workers normalises as one worker would.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline import collectives


class _Normalise(torch.autograd.Function):
    """Normalisation by global statistics; both passes exchange two numbers for each channel.

    With x̂ = (x - mean) / sqrt(var + eps) and global means over batch and space,
    dx = weight / sqrt(var + eps) * (dy - mean(dy) - x̂ * mean(dy * x̂)).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes = [0, *range(2, x.ndim)]
        # Two passes: torch.var_mean takes fifteen times as long on channels-last tensors.
        local_mean = x.mean(axes)
        local_var = (x - _per_channel(local_mean, x)).square_().mean(axes)
        means, variances = collectives.gather(torch.stack([local_mean, local_var])[None]).unbind(1)
        mean = means.mean(0)
        var = (variances + (means - mean).square()).mean(0)
        out = F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps))
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var)
        return out, mean, var

    @staticmethod
    def backward(
        ctx: Any, dy: Tensor, _mean: Tensor, _var: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        # torch's fused kernel gives the two sums over this rank: of dy * x̂ and of dy.
        _, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, mean, mean, mean, inverse_std, True, ctx.eps, [False, True, True]
        )
        count = x.numel() // x.shape[1] * collectives.world_size()
        dy_xhat, dy_mean = collectives.all_sum(torch.stack([d_weight, d_bias])) / count
        scale = weight * inverse_std
        slope = -scale * inverse_std * dy_xhat
        offset = -scale * dy_mean - slope * mean
        dx = torch.addcmul(_per_channel(offset, x), x, _per_channel(slope, x))
        return dx.addcmul_(dy, _per_channel(scale, x)), d_weight, d_bias, None


class GlobalBatchNorm(_BatchNorm):
    """Normalises (B, C, ...) by mean and variance over all ranks' B; every rank calls it.

    Parameters, buffers and their names are those of torch's batch normalisation. In eval mode, or
    with one rank, it is torch's.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected (B, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...); same shape and dtype. Every rank calls this."""
        if not self.training or collectives.world_size() == 1:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        weight = self.weight if self.affine else x.new_ones(self.num_features)
        bias = self.bias if self.affine else x.new_zeros(self.num_features)
        out, mean, var = _Normalise.apply(x, weight, bias, self.eps)
        count = x.numel() // x.shape[1] * collectives.world_size()
        self._update_running(mean, var * (count / (count - 1)))
        return out.to(input.dtype)

    def _update_running(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)


class GlobalBatchNormAct(GlobalBatchNorm):
    """The same, followed by dropout and activation: timm's BatchNormAct2d."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """Normalise, drop, activate (B, C, H, W). Every rank calls this."""
        activated: Tensor = self.act(self.drop(super().forward(input)))
        return activated


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.ndim - 2))


def has_batch_norm(module: nn.Module) -> bool:
    """Whether any part of the module normalises by its batch."""
    return any(isinstance(part, _BatchNorm) for part in module.modules())


def globalise_batch_norm(module: nn.Module) -> nn.Module:
    """Replace every batch normalisation in the module by the global one, keeping weights and names.

    Args:
        module: changed in place, and returned (or its replacement, if it is one itself).
    """
    if isinstance(module, GlobalBatchNorm):
        return module
    if isinstance(module, BatchNormAct2d):
        replacement = _like(module, GlobalBatchNormAct)
        replacement.drop, replacement.act = module.drop, module.act
        return replacement
    if isinstance(module, _BatchNorm):
        return _like(module, GlobalBatchNorm)
    for name, child in module.named_children():
        setattr(module, name, globalise_batch_norm(child))
    return module


def _like(module: _BatchNorm, kind: type[GlobalBatchNorm]) -> GlobalBatchNorm:
    made = kind(
        module.num_features,
        eps=module.eps,
        momentum=module.momentum,
        affine=module.affine,
        track_running_stats=module.track_running_stats,
    )
    own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
    made.load_state_dict({name: tensor.detach() for name, tensor in own.items()}, assign=True)
    for name, weight in made.named_parameters():
        weight.requires_grad_(own[name].requires_grad)
    made.train(module.training)
    return made
