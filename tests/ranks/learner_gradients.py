"""One rank's share of a learner's loss and gradient in float64; run by tests, one process a rank.

python learner_gradients.py RANK WORLD_SIZE RENDEZVOUS OUT
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pipeline.recipe import Recipe
from pipeline.training.learner import build_learner

GLOBAL_BATCH = 8

RECIPE = Recipe.model_validate(
    {
        "data": {"shards": "unused"},
        "views": {"size": 32},
        "encoder": {
            "name": "resnet10t",
            "args": {"channels": [8, 8, 16, 16], "stem_width": 8},
        },
        "objective": {"kind": "simclr", "temperature": 0.2, "projector": [16, 8]},
        "train": {"epochs": 1, "global_batch": GLOBAL_BATCH},
    }
)


def main(rank: int, world_size: int, rendezvous: str, out: Path) -> None:
    torch.set_num_threads(1)
    if world_size > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size
        )
    learner = build_learner(RECIPE).double()
    noise = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (GLOBAL_BATCH, 2, 32, 32, 3), generator=noise).to(torch.uint8)
    share = slice(
        rank * GLOBAL_BATCH // world_size,
        (rank + 1) * GLOBAL_BATCH // world_size,
    )
    module = (
        DistributedDataParallel(learner, broadcast_buffers=False) if world_size > 1 else learner
    )
    result = module(torch.arange(GLOBAL_BATCH)[share], (views[share],))
    result.total.backward()
    torch.save(
        {
            "loss": result.losses.loss.detach(),
            "gradients": {n: p.grad for n, p in learner.named_parameters()},
            "buffers": dict(learner.named_buffers()),
        },
        out / f"{rank}.pt",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
