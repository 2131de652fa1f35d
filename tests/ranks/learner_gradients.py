"""One rank's share of a learner's loss and gradient in float64; run by tests, one process a rank.

The folder has recipe.json and views.pt, a (B, V, S, S, 3) uint8 tensor; it gets RANK.pt.
"""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from pipeline.learning.learner import LearnerBatch, build_learner
from pipeline.recipe import Recipe


def main(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    learner = build_learner(Recipe.model_validate_json((folder / "recipe.json").read_text()))
    learner.double()
    (share,) = torch.load(folder / "views.pt").chunk(world_size)[rank : rank + 1]
    module = DistributedDataParallel(learner, broadcast_buffers=False)
    summed: list[nn.Parameter] = []

    def noting(group: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        summed.extend(bucket.parameters())
        return allreduce_hook(group, bucket)

    module.register_comm_hook(None, noting)
    result = module(LearnerBatch(sample_id=torch.arange(len(share)), views=(share,)))
    result.total.backward()
    names = {parameter: name for name, parameter in learner.named_parameters()}
    torch.save(
        {
            "loss": result.losses.loss.detach(),
            "gradients": {name: parameter.grad for parameter, name in names.items()},
            "buffers": dict(learner.named_buffers()),
            "summed": [names[parameter] for parameter in summed],
        },
        folder / f"{rank}.pt",
    )
    dist.destroy_process_group()  # gloo's threads may abort an exit that leaves them
