"""Collectives between the ranks of a run; the only module that calls torch.distributed.

Without a process group every function acts as if there were one rank, so objectives, layers and
tests run in a plain script. Gathers are rank-major, which is stream order (ranks own consecutive
streams), so a gathered batch is the same tensor for every number of ranks.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.distributed import TCPStore  # type: ignore[attr-defined]


def world_size() -> int:
    """Number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's rank; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, local: Tensor) -> Tensor:
        gathered = local.new_empty((world_size() * local.shape[0], *local.shape[1:]))
        dist.all_gather_into_tensor(gathered, local.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        summed = grad.contiguous().clone()
        dist.all_reduce(summed)
        return summed.chunk(world_size())[rank()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, local: Tensor) -> Tensor:
        total = local.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        summed = grad.contiguous().clone()
        dist.all_reduce(summed)
        return summed


def gather(local: Tensor) -> Tensor:
    """Concatenate every rank's rows, with gradient. Every rank calls this, with equal shapes.

    The backward pass sums what all ranks ask of a row. When each rank's loss is a mean over its own
    rows and the ranks' parameter gradients are averaged (DDP), the result is the gradient of the
    mean over the global batch. A gather without gradient points elsewhere: cosine 0.39 to the true
    gradient for InfoNCE on two ranks.

    Args:
        local: (B, ...), any floating dtype.

    Returns:
        (W * B, ...), rank-major.
    """
    return local if world_size() == 1 else _Gather.apply(local)


def gather_rows(local: Tensor) -> Tensor:
    """Concatenate every rank's rows on the CPU, without gradient. Every rank calls this.

    Args:
        local: (B, ...) on the CPU; B may differ between ranks, all else may not.

    Returns:
        (sum of B, ...), rank-major.
    """
    if world_size() == 1:
        return local
    counts = gather_json(len(local))
    padded = local.new_zeros((max(counts), *local.shape[1:]))
    padded[: len(local)] = local
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    received = [torch.empty_like(padded, device=device) for _ in counts]
    dist.all_gather(received, padded.to(device))
    return torch.cat([rows[:count].cpu() for rows, count in zip(received, counts, strict=True)])


def all_sum(local: Tensor) -> Tensor:
    """Sum a tensor over ranks, with gradient. Every rank calls this, with equal shapes."""
    return local if world_size() == 1 else _Sum.apply(local)


def gather_json(value: Any) -> list[Any]:
    """Every rank's JSON value, in rank order. Every rank calls this.

    JSON rather than pickle, so that nothing received is ever executed.
    """
    if world_size() == 1:
        return [value]
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    encoded = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(device)
    sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([encoded.numel()], device=device))
    longest = max(int(size) for size in sizes)
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[: encoded.numel()] = encoded
    received = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(received, padded)
    return [
        json.loads(bytes(data[: int(size)].cpu().numpy()))
        for data, size in zip(received, sizes, strict=True)
    ]


def keep_first(count: int, *, host: str) -> bool:
    """Go on as the first `count` ranks alone. Every rank calls this, before anything else.

    Args:
        count: ranks that stay; all of them if there are no more.
        host: where the others reach this rank, if it is rank 0.

    Returns:
        Whether this rank stays. One that does not has left the process group.
    """
    mine = rank()
    if count >= world_size():
        return True
    backend = dist.get_backend()
    store = None
    if mine == 0:
        store = TCPStore(host, 0, is_master=True, wait_for_workers=False)
    host, port = gather_json([host, store.port] if store else None)[0]
    dist.destroy_process_group()
    if mine < count and count > 1:
        store = store or TCPStore(host, port, is_master=False)
        dist.init_process_group(backend, store=store, rank=mine, world_size=count)
    return mine < count


def barrier() -> None:
    """Wait for every rank. Every rank calls this."""
    if world_size() > 1:
        dist.barrier()
