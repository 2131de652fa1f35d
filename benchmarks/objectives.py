"""Time and memory of the objectives themselves, against lightly's modules for the same methods.

    python -m benchmarks.objectives --json

No encoder and no heads: from projections of two views to a loss and back to the projections'
gradient, in float32 on one thread. Ours and theirs take turns, and the ratio of each round counts.
Objectives that lightly lacks are compared with our own NT-Xent.

Peak bytes are of everything that torch's allocator handed out in a pass, kernels' own temporaries
included, as its profiler records it. Counting the results of operators would miss those, and the
process's resident memory has in it what the allocator of the C library keeps of earlier passes.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import typer
from lightly.loss import (
    BarlowTwinsLoss,
    NegativeCosineSimilarity,
    NTXentLoss,
    SIGReg,
    VICRegLoss,
)
from lightly.loss.lejepa_loss import lejepa_invariance_loss
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from pipeline.encoders.heads import MultiHead
from pipeline.encoders.shape import EncoderShape
from pipeline.objectives.base import EncodedViews, Objective
from pipeline.objectives.byol import negative_cosine
from pipeline.objectives.configs.amcl import AMCLConfig
from pipeline.objectives.configs.barlow import BarlowConfig
from pipeline.objectives.configs.lejepa import LeJEPAConfig
from pipeline.objectives.configs.unigrad import UniGradConfig
from pipeline.objectives.configs.vicreg import VICRegConfig
from pipeline.objectives.hard_contrastive import hard_nt_xent
from pipeline.objectives.moco import queue_cross_entropy
from pipeline.objectives.mocov3 import batch_cross_entropy
from pipeline.objectives.parts.key_queue import KeyQueue
from pipeline.objectives.simclr import nt_xent
from pipeline.pairs.weighting import uniform_weights, weighted_total

_TEMPERATURE = 0.2
_HEADS = 3  # of AMCL
_SLICES = 1024  # of LeJEPA

Loss = Callable[[Tensor, Tensor], Tensor]
"""A scalar of the projections (2, B, D) of a batch, with gradient, and a twin's, without."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    """Two losses that are compared."""

    name: str
    width: int  # D
    batch: int
    ours: Loss
    theirs: Loss


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contender.")] = 9,
    batch: Annotated[int, typer.Option(min=2, help="Samples, of two views each.")] = 4096,
    only: Annotated[str, typer.Option(help="Cases whose name contains this.")] = "",
) -> None:
    """Compare all losses, one after the other."""
    torch.set_num_threads(1)
    results = {}
    for case in _cases(batch):
        if only in case.name:
            results[case.name] = _measure(case, rounds=rounds)
            print(f"{case.name:32} {results[case.name]}", file=sys.stderr)
    if json_:
        print(json.dumps({"rounds": rounds, "batch": batch, "cases": results}))


def _cases(batch: int) -> list[_Case]:
    cases = [
        _Case(
            name="nt_xent",
            width=128,
            batch=batch,
            ours=_nt_xent,
            theirs=_symmetric(_lightly_nt_xent()),
        ),
        _queues(4096, batch=batch),
        _queues(65536, batch=batch // 4),
    ]
    cosine = NegativeCosineSimilarity()
    cases += [
        _Case(
            name=f"negative_cosine, D = {width}",
            width=width,
            batch=batch,
            ours=lambda z, targets: negative_cosine(z, targets).mean(),
            theirs=lambda z, targets: (cosine(z[0], targets[1]) + cosine(z[1], targets[0])) / 2,
        )
        for width in (128, 2048)
    ]
    for width in (128, 2048):
        barlow, vicreg = BarlowTwinsLoss(), VICRegLoss()
        cases += [
            _Case(
                name=f"barlow, D = {width}",
                width=width,
                batch=batch,
                ours=_total(BarlowConfig(kind="barlow", projector=(width,)), batch=batch),
                theirs=_symmetric(barlow),
            ),
            _Case(
                name=f"vicreg, D = {width}",
                width=width,
                batch=batch,
                ours=_total(VICRegConfig(kind="vicreg", projector=(width,)), batch=batch),
                theirs=_symmetric(vicreg),
            ),
        ]
    sigreg, width = SIGReg(num_vectors=_SLICES), 128
    cases.append(
        _Case(
            name="lejepa",
            width=width,
            batch=batch,
            ours=_total(
                LeJEPAConfig(kind="lejepa", projector=(width,), slices=_SLICES), batch=batch
            ),
            theirs=lambda z, _: (
                0.05 * sigreg(z) + 0.95 * lejepa_invariance_loss(all_proj=z, global_proj=z)
            ),
        )
    )
    return cases + _without_peer(batch)


def _without_peer(batch: int) -> list[_Case]:
    """What lightly lacks, against our NT-Xent."""
    losses: dict[str, Loss] = {
        "mocov3": lambda z, targets: batch_cross_entropy(
            F.normalize(z, dim=-1), F.normalize(targets, dim=-1), temperature=_TEMPERATURE
        ).mean(),
        "hard_contrastive": lambda z, _: hard_nt_xent(
            F.normalize(z, dim=-1), temperature=_TEMPERATURE, hardest=0.0819
        ).mean(),
        "unigrad": _total(UniGradConfig(kind="unigrad", projector=(128,)), batch=batch),
    }
    for base in ("simclr", "moco", "simsiam"):
        config = AMCLConfig(kind="amcl", base=base, projector=(128,), heads=_HEADS)
        losses[f"amcl, {base}"] = _total(config, batch=batch)
    return [
        _Case(
            name=f"{name}, theirs: our nt_xent", width=128, batch=batch, ours=loss, theirs=_nt_xent
        )
        for name, loss in losses.items()
    ]


def _symmetric(module: nn.Module) -> Loss:
    return lambda z, _: module(z[0], z[1])


def _lightly_nt_xent() -> NTXentLoss:
    return NTXentLoss(temperature=_TEMPERATURE)


def _nt_xent(z_VBD: Tensor, _: Tensor) -> Tensor:
    return nt_xent(F.normalize(z_VBD, dim=-1), temperature=_TEMPERATURE).mean()


def _queues(size: int, *, batch: int) -> _Case:
    """Both directions: lightly's module knows one, so that there are two of it."""
    width = 128
    queue = KeyQueue(views=2, size=size, width=width)
    banks = [NTXentLoss(temperature=_TEMPERATURE, memory_bank_size=(size, width)) for _ in range(2)]

    def ours(z_VBD: Tensor, targets_VBD: Tensor) -> Tensor:
        keys_VBD = F.normalize(targets_VBD, dim=-1)
        queue.advance()  # what the last pass offered
        queue.offer(keys_VBD)
        return queue_cross_entropy(
            F.normalize(z_VBD, dim=-1), keys_VBD, queue.keys, temperature=_TEMPERATURE
        ).mean()

    def theirs(z_VBD: Tensor, targets_VBD: Tensor) -> Tensor:
        first, second = banks
        return (first(z_VBD[0], targets_VBD[1]) + second(z_VBD[1], targets_VBD[0])) / 2

    return _Case(
        name=f"moco, {size} keys, B = {batch}", width=width, batch=batch, ours=ours, theirs=theirs
    )


def _total(config: Any, *, batch: int) -> Loss:
    """What a learner minimises, with features for projections."""
    objective: Objective = config.build(EncoderShape(width=8, size=32), global_batch=batch)
    heads = isinstance(objective.projector, MultiHead)
    for name in ("projector", "predictor", "target_projector"):
        if getattr(objective, name, None) is not None:
            identity = MultiHead([nn.Identity()] * _HEADS) if heads else nn.Identity()
            setattr(objective, name, identity)

    def total(z_VBD: Tensor, targets_VBD: Tensor) -> Tensor:
        losses = objective(EncodedViews(features=z_VBD, targets=targets_VBD))
        return weighted_total(losses, uniform_weights(losses))

    return total


def _measure(case: _Case, *, rounds: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    z_VBD = torch.randn(2, case.batch, case.width, generator=generator)
    z_VBD[1] = (z_VBD[0] + z_VBD[1]) / 2  # views of a sample resemble each other
    targets_VBD = (z_VBD + torch.randn(z_VBD.shape, generator=generator)) / 2
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    peaks = {}
    for name, loss in (("ours", case.ours), ("theirs", case.theirs)):
        _pass(loss, z_VBD, targets_VBD)
        peaks[name] = _peak_bytes(loss, z_VBD, targets_VBD)
    for _ in range(rounds):
        for name, loss in (("ours", case.ours), ("theirs", case.theirs)):
            seconds[name].append(_pass(loss, z_VBD, targets_VBD))
    ratios = sorted(
        ours / theirs for ours, theirs in zip(seconds["ours"], seconds["theirs"], strict=True)
    )
    return {
        "time_ratio": round(statistics.median(ratios), 3),
        "time_ratio_least": round(ratios[0], 3),
        "time_ratio_most": round(ratios[-1], 3),
        "peak_ratio": round(peaks["ours"] / peaks["theirs"], 3),
        "peak_mib": {name: round(peak / 2**20, 1) for name, peak in peaks.items()},
        "seconds": {name: round(statistics.median(seconds[name]), 4) for name in seconds},
    }


def _pass(loss: Loss, z_VBD: Tensor, targets_VBD: Tensor) -> float:
    """Seconds of a pass forward and one back."""
    leaf = z_VBD.clone().requires_grad_()
    started = time.perf_counter()
    loss(leaf, targets_VBD).backward()
    return time.perf_counter() - started


def _peak_bytes(loss: Loss, z_VBD: Tensor, targets_VBD: Tensor) -> int:
    """The most bytes that were handed out and not yet given back, above what was there before."""
    leaf = z_VBD.clone().requires_grad_()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loss(leaf, targets_VBD).backward()
    results = profiler.profiler.kineto_results
    changes = [event for event in results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


if __name__ == "__main__":
    typer.run(main)
